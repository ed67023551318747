"""POST /api/v1/compare."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Form as FormBody

from fastreid.service.pictures import list_pictures
from fastreid.service.requests import ERRORS, PREFIX, CheckedForm, CurrentService
from fastreid.service.schemas import CompareForm, CompareResponse
from fastreid.utils.errors import InputError
from fastreid.utils.text import format_count

router = APIRouter(prefix=PREFIX, tags=["search"], responses=ERRORS)


@router.post("/compare", response_model=CompareResponse, dependencies=[CheckedForm])
async def compare(
    form: Annotated[CompareForm, FormBody(media_type="multipart/form-data")], service: CurrentService
) -> dict[str, Any]:
    """Return which lines of two drawings match: uploaded pictures, drawings of the collection, or one of each."""
    service.check_ready()
    pictures = list_pictures(form.pictures, crops=form.crop, pages=form.page, settings=service.settings)
    if len(pictures) + len(form.ids) != 2:
        given = f"{format_count(len(pictures), 'picture')} and {format_count(len(form.ids), 'id')}"
        raise InputError(f"{given}; send two drawings to compare")
    return {"drawings": await service.comparer.compare(pictures, form.ids)}
