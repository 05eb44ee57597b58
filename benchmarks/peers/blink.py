"""gpiozero blinks a mock LED for each line that is read, once, for so many seconds; says how long it was on."""

import sys

from gpiozero import LED, Device
from gpiozero.pins.mock import MockFactory

Device.pin_factory = MockFactory()

led = LED(17)
for line in sys.stdin:
    led.pin.clear_states()
    led.blink(on_time=float(line), off_time=0, n=1, background=False)
    after_on = [state.timestamp for state in led.pin.states if not state.state]
    sys.stdout.write(f"{after_on[-1]}\n")
    sys.stdout.flush()
