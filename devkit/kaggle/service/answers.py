"""Kaggle's answers as typed values. What is not such a value is said in a sentence.

The official client takes every JSON object for an answer, whatever its fields hold. An error in one
of them would come out later, far from the question. So each answer passes a model here, and has
what its reader relies on.
"""

import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

__all__ = [
    "AccountLimits",
    "Competition",
    "DatasetAnswer",
    "Kernel",
    "KernelSources",
    "OutputPage",
    "PushAnswer",
    "Quota",
    "RunState",
    "ScoredSubmission",
    "SubmissionAnswer",
    "SubmissionPage",
    "VersionNumber",
    "event_text",
    "first_problem",
]


def _name(value: Any) -> Any:
    return getattr(value, "name", value)


def _no_none(empty: Any) -> BeforeValidator:
    return BeforeValidator(lambda value: empty if value is None else value)


def _score(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else value


# The client has None for what an answer leaves out.
Text = Annotated[StrictStr, _no_none("")]
Texts = Annotated[tuple[StrictStr, ...], _no_none(())]
Number = Annotated[StrictInt, _no_none(0)]


class _Answer(BaseModel):
    """An answer. Its fields are read from the client's object, by name."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    @classmethod
    def of(cls, answer: Any) -> Self:
        """Read an answer of the client.

        Raises
        ------
        ValidationError
            A field is missing, or holds something else.
        """
        return cls.model_validate(answer)


class _NotEmpty(_Answer):
    """An answer that says something. An empty object is none."""

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, answer: Any) -> Any:
        if answer is None or vars(answer) == vars(type(answer)()):
            raise ValueError("it is empty")
        return answer


class Competition(_NotEmpty):
    """What the competition is to this user."""

    user_has_entered: StrictBool
    submissions_disabled: StrictBool
    is_kernels_submissions_only: StrictBool


class AccountLimits(_Answer):
    """The submissions of a team: made today, made ever, and still allowed today."""

    num_today: Number
    num_total: Number
    num_allowed_now: Number


class _Hours(_Answer):
    total_time_allowed: Annotated[datetime.timedelta, _no_none(datetime.timedelta())]
    time_used: Annotated[datetime.timedelta, _no_none(datetime.timedelta())]


class Quota(_Answer):
    """The GPU hours of the week."""

    gpu_quota: _Hours | None


class KernelSources(_Answer):
    """The newest version of a kernel, and what is attached to it."""

    current_version_number: Number
    dataset_data_sources: Texts
    competition_data_sources: Texts
    kernel_data_sources: Texts
    model_data_sources: Texts


class _Blob(_Answer):
    source: Text


class Kernel(_NotEmpty):
    """A version of a kernel."""

    metadata: KernelSources
    blob: _Blob


class RunState(_Answer):
    """The state of a version's run."""

    status: Annotated[
        Literal[
            "QUEUED",
            "RUNNING",
            "COMPLETE",
            "ERROR",
            "CANCEL_REQUESTED",
            "CANCEL_ACKNOWLEDGED",
            "NEW_SCRIPT",
        ],
        BeforeValidator(_name),
    ]
    failure_message: Text


class PushAnswer(_Answer):
    """The answer to a push of a kernel."""

    error: Text
    url: Text
    version_number: Number
    invalid_dataset_sources: Texts
    invalid_competition_sources: Texts
    invalid_kernel_sources: Texts
    invalid_model_sources: Texts


class _OutputFile(_Answer):
    file_name: StrictStr
    url: StrictStr


class OutputPage(_Answer):
    """A page of what a run left."""

    files: Annotated[tuple[_OutputFile, ...], _no_none(())]
    log: Text
    next_page_token: Text


class DatasetAnswer(_Answer):
    """The answer to an upload of a dataset."""

    status: Text
    error: Text


class VersionNumber(_Answer):
    """The number of a dataset's current version, as the client writes it in JSON."""

    current_version_number: Annotated[StrictInt, Field(ge=1)]


class ScoredSubmission(_Answer):
    """A submission as Kaggle lists it."""

    ref: StrictInt
    date: datetime.datetime | None
    file_name: Text
    description: Text
    status: Annotated[Literal["PENDING", "COMPLETE", "ERROR"], BeforeValidator(_name)]
    public_score: Annotated[StrictStr, BeforeValidator(_score), _no_none("")]
    error_description: Text


class SubmissionPage(_Answer):
    """A page of the list of submissions."""

    submissions: Annotated[tuple[ScoredSubmission, ...], _no_none(())]
    next_page_token: Text


class SubmissionAnswer(_Answer):
    """The answer to a submission."""

    message: Text
    ref: Number


class _Event(_Answer):
    """An event of a run's log."""

    data: Text = ""


def event_text(event: Any) -> str:
    """The text of an event in a run's log. What is no event is shown as it is."""
    try:
        return _Event.of(event).data
    except ValidationError:
        return str(event)


def first_problem(error: ValidationError) -> str:
    """What is wrong with an answer: the first field that is, and what was found in it."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    if not field:
        return problem["msg"].removeprefix("Value error, ")
    if problem["input"] is None or problem["type"] == "missing":
        return f"{field} is missing"
    shown = _shortened(repr(problem["input"]))
    return f"{field} is {shown}"


def _shortened(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
