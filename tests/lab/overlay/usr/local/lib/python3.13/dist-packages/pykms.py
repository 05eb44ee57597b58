"""picamera2 imports this for a screen, which the guest does not have: every format is its own name."""


class Names(type):
    def __getattr__(cls, name: str) -> str:
        return name


class PixelFormat(metaclass=Names):
    pass
