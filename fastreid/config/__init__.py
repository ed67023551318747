"""Every setting of a run: `get_cfg()`, then files and `KEY VALUE` pairs over it, then frozen."""

from fastreid.config.config import CfgNode, get_cfg

__all__ = ["CfgNode", "get_cfg"]
