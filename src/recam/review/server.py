"""``recam review``: the server on this machine, and the export without one."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import uvicorn

from recam.errors import StoreError
from recam.files import require_folder
from recam.pipeline.run import run as recam_run
from recam.progress import Progress, console
from recam.review.app import make_app
from recam.review.corrections import write_corrections
from recam.review.decisions import Decisions, only_reviewer
from recam.review.export import ExportReport, Photos, export_decisions
from recam.review.layers import REVIEW, ReviewedRun
from recam.review.session import Session
from recam.runfolder.summary import RunSummary

HOST = "127.0.0.1"


def serve_review(run: str | Path, port: int = 8765, data: str | None = None) -> None:
    """Serve the review page of a run on this machine until interrupted; prints the address, which holds a fresh secret.

    Args:
        run: a run folder, finished or half done.
        port: of 127.0.0.1; 0 takes any that is free.
        data: KIND:PATH of the data set where it has moved since the run.

    Raises:
        StoreError: no run, nothing to review, another server on the same run, or a port that is taken.
        DataError: `data` cannot be opened.
    """
    reviewed = ReviewedRun(run, data)
    with only_reviewer(reviewed.review), listen(port) as listener:
        session = Session(reviewed)
        token = secrets.token_urlsafe(24)
        address = f"http://{HOST}:{listener.getsockname()[1]}/{token}/"
        if reviewed.no_photos:
            console.print(
                f"The photos are not available, so maps and masks are shown without them: {reviewed.no_photos}",
                markup=False,
            )
        console.print(
            f"{len(reviewed.items)} images to review. Open this address in a browser of this machine; Ctrl-C stops.",
            highlight=False,
        )
        settings = uvicorn.Config(
            make_app(session, token),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        try:
            _Server(settings, address).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            session.jobs.stopping.set()


def export_review(
    run: str | Path, output: str | Path, photos: Photos = "copy", everything: bool = False, data: str | None = None
) -> ExportReport:
    """Write what was decided as a clean data set; see `recam.review.export.export_decisions`. Works beside an open
    page."""
    require_folder(Path(output).parent)
    reviewed = ReviewedRun(run, data)
    decisions = Decisions(reviewed.root / REVIEW)
    with Progress("export", len(reviewed.items)) as progress:
        return export_decisions(
            reviewed,
            decisions,
            Path(output),
            photos,
            everything,
            lambda done, total: progress.advance(done - progress.done),
        )


def retrain(run: str | Path, data: str | None = None) -> RunSummary:
    """Train the segmentation model of a run on masks that people made or changed on the review page, and on pseudo
    masks elsewhere; see `recam.review.corrections.write_corrections`. Nothing else is made again.

    Args:
        run: a run folder.
        data: KIND:PATH of the data set where it has moved since the run.

    Raises:
        RecamError: as `write_corrections` and `recam.run` do.
    """
    reviewed = ReviewedRun(run, data)
    with Progress("corrections", len(reviewed.items)) as progress:
        written = write_corrections(
            reviewed, Decisions(reviewed.review), lambda done, total: progress.advance(done - progress.done)
        )
    console.print(str(written), markup=False)
    return recam_run(data, written.recipe.path, reviewed.root)


class _Server(uvicorn.Server):
    """Prints the address when it can be opened, not before."""

    def __init__(self, settings: uvicorn.Config, address: str) -> None:
        super().__init__(settings)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._address, flush=True)


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1, so that the port is known before anything is started. Raises `StoreError` for one that is
    taken."""
    # asyncio sends small packets at once only on sockets that name their protocol. Without that, head and body of an
    # answer, which go out
    # as two packets, wait for each other: 44 ms per request of a connection that is kept.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise StoreError(
            f"port {port} cannot be used ({error}). Name another with --port, or 0 for any that is free."
        ) from error
    return listener
