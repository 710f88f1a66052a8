"""``python -m wfe_controller`` is ``wfe-controller``."""

from wfe_controller.cli.main import main

main(prog_name="wfe-controller")
