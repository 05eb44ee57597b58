"""click.py LINE: an active-low output that is off, as gpiozero's own pin claims it."""

import sys

from gpiozero import DigitalOutputDevice
from gpiozero.pins.lgpio import LGPIOFactory

DigitalOutputDevice(int(sys.argv[1]), active_high=False, initial_value=False, pin_factory=LGPIOFactory(0))
