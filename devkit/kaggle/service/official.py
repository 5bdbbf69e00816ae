"""The official client, with its uploads made safe. Import it through `client` only.

Importing the `kaggle` package signs in, prints and makes folders. So it is done late and quietly.

Two habits of the client's uploads are changed by overriding its public methods. It gives up an
upload that was interrupted ten times within a second. Here there are pauses between the attempts.
It resumes an upload that Kaggle rejected, again and again. Here the next command starts it anew. An
upload that expired, the client itself starts anew. Also, an answer must be a JSON object here.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from kaggle.api.kaggle_api_extended import KaggleApi, ResumableUploadResult

from devkit.errors import KaggleError

__all__ = ["CarefulApi"]

_LONGEST_PAUSE = 30.0


class CarefulApi(KaggleApi):
    """The official client, which is patient with uploads that are cut off.

    Parameters
    ----------
    pause_seconds
        The pause before an interrupted upload is resumed. It doubles each time.
    """

    def __init__(self, pause_seconds: float = 1.0) -> None:
        self._pause_seconds = pause_seconds
        self._pauses: dict[str, float] = {}
        self._results: dict[str, str] = {}

    def get_response_processor(self) -> Callable[[requests.Response], None]:
        """What looks at each answer. It refuses JSON that is no object.

        The client would take a text or a list for an object without any field.
        """
        look: Callable[[requests.Response], None] | None = super().get_response_processor()

        def look_closer(response: requests.Response) -> None:
            is_download = response.request.method != "POST"  # it was sent elsewhere
            if not is_download and response.content.lstrip()[:1] != b"{":
                raise requests.exceptions.InvalidJSONError(response=response)
            if look is not None:
                look(response)

        return look_closer

    def upload_complete(self, path: str, url: str, quiet: bool, resume: bool = False) -> str:
        """Upload one file, or what is left of it. Note the result, and pause if interrupted."""
        result: str = super().upload_complete(path, url, quiet, resume)
        self._results[path] = result
        if result == ResumableUploadResult.INCOMPLETE:
            pause = self._pauses.get(path, self._pause_seconds)
            self._pauses[path] = min(pause * 2, _LONGEST_PAUSE)
            time.sleep(pause)
        return result

    def upload_files(
        self,
        request: Any,
        resources: Any,
        folder: str,
        blob_type: Any,
        upload_context: Any,
        *options: Any,
    ) -> None:
        """Upload all files of a folder.

        Raises
        ------
        KaggleError
            A file did not arrive. The next attempt does not send again what did.
        """
        failure = None
        try:
            super().upload_files(request, resources, folder, blob_type, upload_context, *options)
        except ValueError as error:  # how the client says that a file did not arrive
            failure = error
        unfinished = {
            path: result
            for path, result in self._results.items()
            if result != ResumableUploadResult.COMPLETE
        }
        for path, result in unfinished.items():
            if result == ResumableUploadResult.FAILED:
                # Kaggle does not know this upload any more: the next attempt has to start it anew
                Path(upload_context.get_upload_info_file_path(path)).unlink(missing_ok=True)
        if unfinished:
            names = ", ".join(sorted(Path(path).name for path in unfinished))
            raise KaggleError(
                f"the upload of {names} was cut off, and nothing was created. Run the same "
                "command again. What has arrived is not sent again"
            ) from failure
        if failure:
            raise failure
