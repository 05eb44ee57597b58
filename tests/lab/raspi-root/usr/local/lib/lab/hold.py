"""hold.py LINE: drives a line high, as any program might that knows no guard, until it is ended."""

import signal
import sys

import lgpio

lgpio.gpio_claim_output(lgpio.gpiochip_open(0), int(sys.argv[1]), 1)
sys.stdout.write("held\n")
sys.stdout.flush()
signal.pause()
