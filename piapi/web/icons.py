"""The icons of Bootstrap that the pages show, by name."""

ICONS = frozenset(
    """
    arrow-counterclockwise arrow-down-circle arrow-up-circle box-arrow-right broadcast calendar3 camera camera-fill
    check-circle-fill chevron-left chevron-right clock clock-history cpu door-closed-fill door-open-fill download
    exclamation-triangle-fill film gear hdd hourglass-split house-door images info-circle key lightbulb lightbulb-fill
    lock-fill pause-fill phone pin-angle pin-angle-fill play-fill plus-lg qr-code question-circle stop-circle tag
    thermometer-half three-dots toggle-off toggle-on trash unlock wifi-off x-circle x-lg zoom-in zoom-out
    """.split()
)
