"""Fixtures for the tests of Crossfold and of its plugins."""

import signal

pytest_plugins = ["azureml_emulator.fixtures"]

# A shell lets what it starts in its background ignore Ctrl-C, and all that a test starts would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
