"""The commands; installed as `fastreid_tools`, and run as `python tools/NAME.py` from a clone."""
