"""Requests and responses of the REST API."""

from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field

from fastreid.index.refinement import Rerank

MAX_LIMIT, MAX_FACET_VALUES = 200, 1000
_Text = Annotated[str, Field(max_length=1000)]


class Form(BaseModel):
    """A request; a field that it does not list is an error."""

    model_config = ConfigDict(extra="forbid")


class SearchForm(Form):
    """A query: pictures of one object, or drawings of the collection."""

    pictures: list[UploadFile] = Field(default=[], description="image files of one object")
    crop: list[_Text] = Field(default=[], description="x,y,w,h in pixels or percent: one for all, or one per picture")
    page: list[int] = Field(default=[], description="page of a TIFF or PDF, from 1: one for all, or one per picture")
    ids: list[_Text] = Field(default=[], description="drawings of the collection as query")
    filter: Annotated[str, Field(max_length=20_000)] = ""
    group: _Text | None = Field(default=None, description="only the best drawing of each value of this column")
    within: _Text | None = Field(default=None, description="with group: all drawings of this value of the column")
    k: int = Field(default=20, ge=1, description="number of results")
    exclude_patents: Annotated[list[_Text], Field(max_length=100)] = Field(default=[])
    exclude_families: Annotated[list[_Text], Field(max_length=100)] = Field(default=[])
    exclude_own: bool = Field(default=False, description="leave out the patents and families of the drawings in ids")
    expand: bool = Field(default=False, description="order the best results by an expanded query")
    rerank: Rerank | None = Field(default=None, description="order the best results by their neighbors")
    min_score: float = Field(default=-1.0, ge=-1, le=1, allow_inf_nan=False)
    combine: Literal["mean", "best"] = "mean"
    offset: int = Field(default=0, ge=0, le=1_000_000)
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT)


class CompareForm(Form):
    """Two drawings: pictures, drawings of the collection, or one of each."""

    pictures: list[UploadFile] = Field(default=[], description="image files")
    crop: list[_Text] = Field(default=[], description="x,y,w,h in pixels or percent: one for all, or one per picture")
    page: list[int] = Field(default=[], description="page of a TIFF or PDF, from 1: one for all, or one per picture")
    ids: list[_Text] = Field(default=[], description="drawings of the collection")


class UploadForm(Form):
    """Drawings to add."""

    pictures: list[UploadFile] = Field(default=[], description="image files")
    metadata: Annotated[str, Field(max_length=100_000)] = Field(
        default="{}",
        description='JSON object of columns and values for all of them, such as {"patent": "D0801234"}; null: no value',
    )


class FacetQuery(Form):
    """Which values of a column are counted."""

    column: _Text
    filter: Annotated[str, Field(max_length=20_000)] = ""
    limit: int = Field(default=50, ge=1, le=MAX_FACET_VALUES)


class ImageQuery(Form):
    """How a page is rendered."""

    longest_px: int = Field(default=2048, ge=64, le=8192, description="a page with a longer side is reduced to it")


class NoQuery(Form):
    """A request without parameters."""


class ErrorContent(BaseModel):
    """What went wrong."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorContent


class Drawing(BaseModel):
    """A drawing of the collection."""

    id: str
    patent: str | None
    path: str
    page: int
    metadata: dict[str, Any]
    thumbnail: str
    image: str


class Result(Drawing):
    """A drawing that a search found."""

    rank: int
    score: float
    distance: float
    probability: float | None
    other_views: int | None


class QueryPicture(BaseModel):
    """A picture of the query, without its content."""

    name: str
    page: int
    crop: str


class Query(BaseModel):
    """What was searched for, and in what: the part of the answer that a record needs."""

    pictures: list[QueryPicture]
    ids: list[str]
    filter: str
    group: str | None
    within: str | None
    k: int
    exclude_patents: list[str]
    exclude_families: list[str]
    exclude_own: bool
    expand: bool
    rerank: str | None
    min_score: float
    combine: str
    collection: str
    version: int
    model: str
    weights_sha256: str
    time: str


class SearchResponse(BaseModel):
    """Results from `offset` on."""

    query: Query
    total: int
    offset: int
    limit: int
    results: list[Result]


class Region(BaseModel):
    """A ninth of the ink of a drawing: its share of the ink, and the mean value of the match there."""

    ink: float
    matched: float


class ComparedDrawing(BaseModel):
    """A drawing whose ink is colored by how well it matches the other one."""

    name: str
    id: str | None
    width: int
    height: int
    matched: float
    regions: list[list[Region]]
    image: str


class CompareResponse(BaseModel):
    """The two drawings, the pictures first."""

    drawings: list[ComparedDrawing]


class CollectionResponse(BaseModel):
    """The collection and the limits of the service."""

    name: str
    drawings: int
    patents: int
    model: str
    weights_sha256: str
    dimension: int
    created: str
    version: Any
    search: str
    columns: dict[str, str]
    limits: dict[str, int | float]
    needs_token: bool
    changes: bool


class FacetValue(BaseModel):
    """A value of a column, and how many drawings have it."""

    value: Any
    count: int


class FacetResponse(BaseModel):
    """The values of a column."""

    column: str
    type: str
    filter: str
    total: int
    missing: int
    distinct: int
    minimum: Any
    maximum: Any
    values: list[FacetValue]


class AddResponse(BaseModel):
    """What was added."""

    added: int
    relabeled: int
    unchanged: int
    removed: int
    excluded: int
    faults: list[str]
    drawings: int


class RemoveResponse(BaseModel):
    """What was removed."""

    removed: int
    drawings: int


class StatusResponse(BaseModel):
    """State of the process."""

    status: str
