"""What Kaggle would do, kept in memory: datasets, kernels and submissions with their life cycles.

A dataset version, a run and a submission each have a timeline. It lists the states that one look
after the other finds. The last one stays for ever. "stale" means that Kaggle still reports the
version before.
"""

import base64
import io
import json
import re
import zipfile
from dataclasses import dataclass, field
from typing import Any

USER, KEY, TOKEN = "alice", "0123456789abcdef0123456789abcdef", "KGAT_" + "5ec2e7" * 6
COMPETITION = "hubmap-kidney-segmentation"
SAMPLE = b"id,predicted\naa,\nbb,\n"


class Refusal(Exception):  # noqa: N818, an answer rather than an error
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Timeline:
    def __init__(self, states: list[str]) -> None:
        self.now = states[0]
        self._ahead = list(states)

    def next(self) -> str:
        if self._ahead:
            self.now = self._ahead.pop(0)
        return self.now

    def become(self, *states: str) -> None:
        self._ahead = list(states)


@dataclass
class DatasetVersion:
    files: dict[str, bytes]
    timeline: Timeline


@dataclass
class KernelVersion:
    request: dict[str, Any]
    timeline: Timeline
    log: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Submission:
    reply: dict[str, Any]
    timeline: Timeline


class KaggleService:
    """The state, with one method per call of the official client."""

    def __init__(self) -> None:
        self.datasets: dict[str, list[DatasetVersion]] = {}
        self.kernels: dict[str, list[KernelVersion]] = {}
        self.submissions: list[Submission] = []
        self.blobs: dict[str, tuple[str, bytearray, int]] = {}
        self.models: set[str] = set()
        self.has_joined = True
        self.allowed_today = 5
        self.gpu_hours_used = 1
        self.zips_downloads = False
        self.data = b""  # the competition's files, as an archive
        # the fate of what comes next
        self.next_version = ["stale", "BLOBS_RECEIVED", "READY"]
        self.next_run = ["QUEUED", "RUNNING", "COMPLETE"]
        self.next_log: list[str] | None = None
        self.next_files = {"submission.csv": SAMPLE, "report.json": b"{}", "more.txt": b""}
        self.next_score = {"status": ["PENDING", "COMPLETE"], "publicScore": "0.9123"}

    def is_known(self, authorization: str) -> bool:
        basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return authorization in (f"Basic {basic}", f"Bearer {TOKEN}")

    # ---- who

    def introspect_token(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"active": True, "username": USER} if body["token"] == TOKEN else {"active": False}

    def get_accelerator_quota_statistics(self, _: dict[str, Any]) -> dict[str, Any]:
        used = f"{self.gpu_hours_used * 3600}s"
        return {"gpuQuota": {"timeUsed": used, "totalTimeAllowed": f"{30 * 3600}s"}}

    # ---- datasets

    def start_blob_upload(self, body: dict[str, Any]) -> dict[str, Any]:
        token = f"blob-{len(self.blobs)}"
        self.blobs[token] = (body.get("name") or body["fileName"], bytearray(), 0)
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}

    def create_dataset(self, body: dict[str, Any]) -> dict[str, Any]:
        ref = f"{body['ownerSlug']}/{body['slug']}"
        if body["ownerSlug"] != USER:
            return {
                "status": "error",
                "error": "You are not allowed to create a dataset as this owner.",
            }
        if ref in self.datasets:
            raise Refusal(409, "The requested title is already in use by a dataset")
        return self._add_version(ref, body["files"])

    def create_dataset_version(self, body: dict[str, Any]) -> dict[str, Any]:
        ref = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if self.dataset(ref)[-1].timeline.now not in ("READY", "FAILED"):
            raise Refusal(403, "Permission 'datasets.update' was denied")
        return self._add_version(ref, body["body"]["files"])

    def _add_version(self, ref: str, files: list[dict[str, str]]) -> dict[str, Any]:
        blobs = [self.blobs[file["token"]] for file in files]
        version = {name: bytes(content) for name, content, _ in blobs}
        timeline = Timeline(self.next_version)
        self.datasets.setdefault(ref, []).append(DatasetVersion(version, timeline))
        return {"status": "ok", "url": f"https://www.kaggle.com/datasets/{ref}"}

    def dataset(self, ref: str) -> list[DatasetVersion]:
        if ref not in self.datasets:
            raise Refusal(403, "Permission 'datasets.get' was denied")
        return self.datasets[ref]

    def get_dataset_status(self, body: dict[str, Any]) -> dict[str, Any]:
        state = self.dataset(f"{body['ownerSlug']}/{body['datasetSlug']}")[-1].timeline.now
        return {"status": "READY" if state == "stale" else state}

    def get_dataset(self, body: dict[str, Any]) -> dict[str, Any]:
        versions = self.dataset(f"{body['ownerSlug']}/{body['datasetSlug']}")
        is_stale = versions[-1].timeline.next() == "stale"
        if is_stale and len(versions) == 1:
            raise Refusal(404, "Not found")
        return {"currentVersionNumber": len(versions) - is_stale}

    def download_dataset(self, body: dict[str, Any]) -> str:
        ref, number = f"{body['ownerSlug']}/{body['datasetSlug']}", body["datasetVersionNumber"]
        versions = self.dataset(ref)
        version = versions[number - 1] if number <= len(versions) else None
        if version is None or version.timeline.now != "READY":
            raise Refusal(404, "Not found")
        return f"http://localhost/files/datasets/{ref}/{number}/{body['fileName']}"

    # ---- kernels

    def save_kernel(self, body: dict[str, Any]) -> dict[str, Any]:
        ref = body["slug"]
        for kind in ("dataset", "competition", "model"):  # what is empty is not sent
            body.setdefault(f"{kind}DataSources", [])
        versions = self.kernels.setdefault(ref, [])
        log = self.next_log if self.next_log is not None else _usual_log(body["text"])
        timeline = Timeline(self.next_run)
        versions.append(KernelVersion(body, timeline, log, dict(self.next_files)))
        known = set(self.datasets)
        reply = {"ref": f"/code/{ref}", "url": f"https://www.kaggle.com/code/{ref}"}
        return reply | {
            "versionNumber": len(versions),
            "invalidDatasetSources": sorted(set(body["datasetDataSources"]) - known),
            "invalidCompetitionSources": sorted(
                set(body["competitionDataSources"]) - {COMPETITION}
            ),
            "invalidModelSources": sorted(set(body["modelDataSources"]) - self.models),
        }

    def kernel(self, body: dict[str, Any]) -> tuple[int, KernelVersion]:
        owner = body.get("userName") or body["kernelOwner"]
        versions = self.kernels.get(f"{owner}/{body['kernelSlug']}")
        if not versions:
            raise Refusal(403, "Permission 'kernels.get' was denied")
        label = body.get("versionLabel") or f"v{len(versions)}"
        number = int(label[1:]) if re.fullmatch(r"v\d+", label) else 0
        if not 1 <= number <= len(versions):
            raise Refusal(404, "Not found")
        return number, versions[number - 1]

    def get_kernel(self, body: dict[str, Any]) -> dict[str, Any]:
        number, version = self.kernel(body)
        request = version.request
        missing = set(request["datasetDataSources"]) - set(self.datasets)
        metadata = {
            "ref": request["slug"],
            "currentVersionNumber": number,
            "datasetDataSources": sorted(set(request["datasetDataSources"]) - missing),
            "competitionDataSources": sorted(
                set(request["competitionDataSources"]) & {COMPETITION}
            ),
            "modelDataSources": sorted(set(request["modelDataSources"]) & self.models),
        }
        return {"metadata": metadata, "blob": {"source": request["text"], "slug": request["slug"]}}

    def get_kernel_session_status(self, body: dict[str, Any]) -> dict[str, Any]:
        state = self.kernel(body)[1].timeline.next()
        return {"status": state} | (
            {"failureMessage": "Notebook exited"} if state == "ERROR" else {}
        )

    def list_kernel_session_output(self, body: dict[str, Any]) -> dict[str, Any]:
        number, version = self.kernel(body)
        ref = f"{body['userName']}/{body['kernelSlug']}"
        at = int(body.get("pageToken") or 0)
        names = sorted(version.files)[at : at + 2]
        files = [
            {"fileName": name, "url": f"http://localhost/files/kernels/{ref}/{number}/{name}"}
            for name in names
        ]
        more = str(at + 2) if at + 2 < len(version.files) else ""
        return {"files": files, "log": json.dumps(_events(version.log)), "nextPageToken": more}

    # ---- competitions

    def get_competition(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["competitionName"] != COMPETITION:
            raise Refusal(404, "Not found")
        return {"userHasEntered": self.has_joined, "isKernelsSubmissionsOnly": True}

    def download_data_file(self, body: dict[str, Any]) -> str:
        if body["competitionName"] != COMPETITION or body["fileName"] != "sample_submission.csv":
            raise Refusal(404, "Not found")
        return "http://localhost/files/sample/sample_submission.csv"

    def download_data_files(self, body: dict[str, Any]) -> str:
        if body["competitionName"] != COMPETITION:
            raise Refusal(404, "Not found")
        return f"http://localhost/files/data/{COMPETITION}.zip"

    def get_submission_limits(self, _: dict[str, Any]) -> dict[str, Any]:
        made = len(self.submissions)
        return {"numToday": made, "numTotal": made, "numAllowedNow": self.allowed_today}

    def start_submission_upload(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.start_blob_upload(body)

    def create_submission(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._add_submission(body, self.blobs[body["blobFileTokens"]][0])

    def create_code_submission(self, body: dict[str, Any]) -> dict[str, Any]:
        _, version = self.kernel(body | {"versionLabel": f"v{body['kernelVersion']}"})
        if version.timeline.now != "COMPLETE" or body["fileName"] not in version.files:
            raise Refusal(400, "The notebook version has no such output file")
        return self._add_submission(body, body["fileName"])

    def _add_submission(self, body: dict[str, Any], name: str) -> dict[str, Any]:
        if not self.has_joined:
            raise Refusal(403, "You cannot submit until you accept the competition rules")
        if self.allowed_today < 1:
            raise Refusal(400, "You have reached the maximum number of daily submissions")
        self.allowed_today -= 1
        reply = {"ref": 7000 + len(self.submissions), "fileName": name}
        reply |= {"description": body["submissionDescription"], "date": "2026-11-21T12:00:00Z"}
        reply |= {key: value for key, value in self.next_score.items() if key != "status"}
        timeline = Timeline(self.next_score["status"])
        self.submissions.append(Submission(reply, timeline))
        return {"message": "Successfully submitted", "ref": reply["ref"]}

    def list_submissions(self, body: dict[str, Any]) -> dict[str, Any]:
        at = int(body.get("pageToken") or 0)
        newest = self.submissions[::-1]
        found = [item.reply | {"status": item.timeline.now} for item in newest[at : at + 2]]
        more = str(at + 2) if at + 2 < len(newest) else ""
        return {"submissions": found, "nextPageToken": more}

    def get_submission(self, body: dict[str, Any]) -> dict[str, Any]:
        item = next(item for item in self.submissions if item.reply["ref"] == body["ref"])
        return item.reply | {"status": item.timeline.next()}

    # ---- files

    def file(self, path: str) -> bytes:
        kind, *rest = path.split("/")
        if kind == "data":
            return self.data
        if kind == "sample":
            content, name = SAMPLE, rest[0]
        else:
            owner, slug, number, *parts = rest
            name = "/".join(parts)
            stores: dict[str, Any] = {"datasets": self.datasets, "kernels": self.kernels}
            content = stores[kind][f"{owner}/{slug}"][int(number) - 1].files[name]
        if not self.zips_downloads:
            return content
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(name, content)
        return packed.getvalue()

    def log_events(self, ref: str) -> list[dict[str, Any]]:
        return _events(self.kernels[ref][-1].log)


def _usual_log(text: str) -> list[str]:
    """What the notebook prints when all goes well."""
    fingerprint = re.search(r"fingerprint = \\\"(\w+)", text)
    return [
        f"kernel dataset {fingerprint[1][:12] if fingerprint else ''} for kaggle-py312\n",
        "predicting\n",
        "kernelkit: end of the run, recipe hubmap 0123456789abcdef\n",
    ]


def _events(log: list[str]) -> list[dict[str, Any]]:
    return [{"stream_name": "stdout", "time": at, "data": data} for at, data in enumerate(log)]
