"""POST and DELETE of drawings, and POST /api/v1/update; only with `--enable-changes`."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Form as FormBody

from fastreid.index import Collection, IngestReport
from fastreid.service.errors import ServiceError, hide_folders
from fastreid.service.pictures import check_uploads, clean_name
from fastreid.service.requests import ERRORS, PREFIX, CheckedForm, CurrentService
from fastreid.service.routes_drawings import find_row
from fastreid.service.schemas import AddResponse, NoQuery, RemoveResponse, UploadForm
from fastreid.service.service import Service
from fastreid.service.uploads import Upload, add_uploads, parse_metadata
from fastreid.utils.errors import InputError
from fastreid.utils.text import MAX_FAULTS_SHOWN

router = APIRouter(prefix=PREFIX, tags=["changes"], responses=ERRORS)


def check_enabled(service: Service) -> Path:
    """Return the folder of uploads.

    Raises:
        ServiceError: changes are not enabled.
    """
    if service.settings.uploads is None:
        raise ServiceError(403, "forbidden", "this server does not change its collection; see --enable-changes")
    return service.settings.uploads


@router.post("/drawings", response_model=AddResponse, dependencies=[CheckedForm])
async def add_drawings(
    form: Annotated[UploadForm, FormBody(media_type="multipart/form-data")], service: CurrentService
) -> dict[str, Any]:
    """Add uploaded drawings with their metadata."""
    folder = check_enabled(service)
    check_uploads(form.pictures, service.settings)
    if not form.pictures:
        raise InputError("no drawing is given; send pictures")
    metadata = parse_metadata(form.metadata)
    files = [(clean_name(file.filename, position), file.file) for position, file in enumerate(form.pictures, 1)]

    def add(collection: Collection) -> dict[str, Any]:
        uploads = [Upload(name, file.read()) for name, file in files]
        return _describe_report(collection, add_uploads(collection, folder, uploads, metadata), service)

    return await service.change(add)


@router.post("/update", response_model=AddResponse)
async def update_collection(service: CurrentService, _: Annotated[NoQuery, Query()]) -> dict[str, Any]:
    """Read all sources of the collection again."""
    check_enabled(service)
    return await service.change(lambda collection: _describe_report(collection, collection.update(), service))


@router.delete("/drawings/{name:path}", response_model=RemoveResponse)
async def remove_drawing(name: str, service: CurrentService, _: Annotated[NoQuery, Query()]) -> dict[str, int]:
    """Remove a drawing; its file remains."""
    check_enabled(service)

    def remove(collection: Collection) -> dict[str, int]:
        find_row(collection, name)
        return {"removed": collection.remove(ids=[name]), "drawings": collection.count()}

    return await service.change(remove)


def _describe_report(collection: Collection, report: IngestReport, service: Service) -> dict[str, Any]:
    hidden = service.hidden_paths
    return {
        "added": report.num_embedded,
        "relabeled": report.num_relabeled,
        "unchanged": report.num_unchanged,
        "removed": report.num_removed,
        "excluded": report.num_excluded,
        "faults": [hide_folders(fault, hidden) for fault in report.faults[:MAX_FAULTS_SHOWN]],
        "drawings": collection.count(),
    }
