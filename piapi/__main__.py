"""`python -m piapi`: the command line, where nothing is installed into PATH."""

from piapi.cli import main

main(prog_name="piapi")
