"""Dataset audit: invalid lists, unreadable files, leakage between training and test, duplicates."""

from fastreid.data.audit.audit import audit_datasets
from fastreid.data.audit.findings import DrawingList, Finding
from fastreid.data.audit.inspection import FileInfo
from fastreid.data.audit.report import AuditReport

__all__ = ["AuditReport", "DrawingList", "FileInfo", "Finding", "audit_datasets"]
