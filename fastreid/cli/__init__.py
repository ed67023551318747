"""The `fastreid` command: one module per sub-command."""
