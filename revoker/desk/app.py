"""The desk's pages. A GET changes nothing; a POST carries out a plan that a page has shown."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from delete_session import __version__
from revoker.actor import service_bus_actor
from revoker.carriers import among, publications
from revoker.connection import face_scope, setting
from revoker.dead_letters import show
from revoker.desk import cloud_story
from revoker.desk.access import Guard, Refused
from revoker.desk.desk import Desk, Diagnosis
from revoker.desk.filters import AGES, Filter, Page
from revoker.desk.rendering import Pages
from revoker.desk.work import read_action, upload
from revoker.failure import Exit, Failure
from revoker.ids import read_id
from revoker.local_cloud import CloudDown
from revoker.log_query import query
from revoker.messages import Seen
from revoker.record import Record, facts_of, last
from revoker.story import Step, in_order, steps

_SHOWN = 20  # of the reasons, of the messages of a plan, and of what was kept
_LISTED = 50  # of the steps and messages of one session, and of the reasons to choose from
_RECORD_LINES = 200


def make_app(desk: Desk) -> Starlette:
    """Return the application."""
    handlers = _Handlers(desk)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with desk.open():
            yield

    def get(path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, handler, methods=["GET"])

    def post(path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, handler, methods=["POST"])

    return Starlette(
        routes=[
            get("/", handlers.overview),
            get("/flow", handlers.flow),
            get("/waiting", handlers.waiting),
            get("/dead-letters", handlers.dead_letters),
            get("/dead-letters/{number:int}", handlers.dead_letter),
            get("/dead-letters/{number:int}/body", handlers.body),
            get("/sessions", handlers.find_session),
            get("/sessions/{session_id}", handlers.session),
            get("/plans/{id}", handlers.plan),
            get("/jobs/{id}", handlers.job),
            get("/doctor", handlers.doctor),
            get("/record", handlers.record),
            post("/plans", handlers.make_plan),
            post("/plans/{id}", handlers.start),
            post("/sessions/{session_id}", handlers.ask_about_session),
            post("/doctor", handlers.examine),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[Middleware(Guard, access=desk.access, refused=handlers.refused)],
        exception_handlers={
            Failure: handlers.failed,
            Refused: lambda request, why: handlers.refused(request, str(why)),
            404: handlers.not_found,
        },
        lifespan=lifespan,
    )


class _Handlers:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pages = Pages(
            queue=desk.address.queue,
            where=desk.address.where,
            form_token=desk.access.form_token,
            on_local_cloud=desk.cloud is not None,
            version=__version__,
            now=lambda: datetime.now(UTC),
        )

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(self._pages.render(template, values), status)

    # ---- looking ----

    async def overview(self, _: Request) -> Response:
        view = await self._desk.snapshots.view()
        return self._page("overview.html", view=view, most=_SHOWN)

    async def flow(self, _: Request) -> Response:
        flow = self._desk.flow
        return self._page("flow.html", flow=flow.now(time.time()) if flow else None)

    async def waiting(self, request: Request) -> Response:
        view = await self._desk.snapshots.view()
        found = view.snapshot.waiting if view.snapshot else []
        page = Page.cut(found, request.query_params.get("page", ""))
        return self._page("waiting.html", view=view, page=page, filter=Filter())

    async def dead_letters(self, request: Request) -> Response:
        wanted = Filter.read(request.query_params)
        view = await self._desk.snapshots.view()
        selection = wanted.selection()
        dead = view.snapshot.dead if view.snapshot else []
        found = [seen for seen in dead if selection.takes(seen)]
        page = Page.cut(found, request.query_params.get("page", ""))
        reasons = view.snapshot.status.dead_letter_reasons if view.snapshot else {}
        return self._page(
            "dead_letters.html",
            view=view,
            page=page,
            filter=wanted,
            ages=AGES,
            reasons=[*list(reasons)[:_LISTED], *({wanted.reason} - {"", *list(reasons)[:_LISTED]})],
        )

    async def dead_letter(self, request: Request) -> Response:
        number = request.path_params["number"]
        view = await self._desk.snapshots.view()
        snapshot = view.snapshot
        dead = snapshot.dead if snapshot else []
        seen = next((each for each in dead if each.sequence_number == number), None)
        if seen is None:
            seen, _ = await show(self._desk.address, number)
        known = publications([seen], snapshot.waiting, snapshot.dead) if snapshot else []
        return self._page(
            "dead_letter.html",
            seen=seen,
            view=view,
            publication=known[0] if known else None,
            steps=await self._story([seen], seen.session_id),
            query=query(seen.session_id) if seen.session_id else None,
            most=_LISTED,
        )

    async def body(self, request: Request) -> Response:
        seen, body = await show(self._desk.address, request.path_params["number"])
        who = await service_bus_actor(self._desk.address.connection)
        with Record.open(self._desk.record, "desk", who, str(uuid4())) as record:
            record.write_all("body_viewed", [facts_of(seen, body)])
        text = None if body is None else body.decode("utf-8", "backslashreplace")
        response = self._page("body.html", seen=seen, body=text)
        response.background = BackgroundTask(upload, record)
        return response

    async def find_session(self, request: Request) -> Response:
        session_id = read_id(request.query_params.get("id", ""))
        return RedirectResponse(f"/sessions/{session_id}", 303)

    async def session(self, request: Request) -> Response:
        session_id = read_id(request.path_params["session_id"])
        view = await self._desk.snapshots.view()
        snapshot = view.snapshot
        found = among(snapshot.waiting, snapshot.dead, {session_id}) if snapshot else {}
        carriers = found.get(session_id, [])
        return self._page(
            "session.html",
            session_id=session_id,
            view=view,
            carriers=carriers,
            finding=self._desk.findings.get(session_id),
            steps=await self._story([each.seen for each in carriers], session_id),
            query=query(session_id),
            most=_LISTED,
        )

    async def _story(self, seen: list[Seen], session_id: str | None) -> list[Step]:
        record, _ = await asyncio.to_thread(last, self._desk.record, 100_000)
        numbers = {each.sequence_number for each in seen}
        record = [
            each
            for each in record
            if (session_id and each.get("session_id") == session_id)
            or (not session_id and each.get("sequence_number") in numbers)
        ]
        found = steps(seen, record)
        cloud = self._desk.cloud
        if cloud is None:
            return in_order(found)
        try:
            lines = await cloud.lines_about(session_id) if session_id else []
            roots = {each.root_id for each in seen} | {
                str(line.facts.get("root_id")) for line in lines
            }
            found += cloud_story.steps(await cloud.events(frozenset(roots)), lines)
        except (CloudDown, OSError):
            pass  # the local cloud has been stopped
        return in_order(found)

    async def doctor(self, _: Request) -> Response:
        return self._page("doctor.html", diagnosis=self._desk.diagnosis)

    async def record(self, _: Request) -> Response:
        lines, unreadable = await asyncio.to_thread(last, self._desk.record, _RECORD_LINES)
        return self._page(
            "record.html",
            lines=lines,
            unreadable=unreadable,
            path=self._desk.record.absolute(),
            most=_RECORD_LINES,
        )

    # ---- doing ----

    async def make_plan(self, request: Request) -> Response:
        fields = await self._desk.access.form(request)
        action = read_action(fields.get("action"))
        snapshot = await self._desk.snapshots.latest()
        selection = Filter.read(fields).selection()
        wanted = [seen for seen in snapshot.dead if selection.takes(seen)]
        plan = self._desk.work.plan(action, wanted, snapshot)
        return RedirectResponse(f"/plans/{plan.id}", 303)

    async def plan(self, request: Request) -> Response:
        plan = self._desk.work.find_plan(request.path_params["id"])
        return self._page("plan.html", plan=plan, most=_SHOWN, record=self._desk.record.absolute())

    async def start(self, request: Request) -> Response:
        fields = await self._desk.access.form(request)
        id_ = request.path_params["id"]
        plan = self._desk.work.find_plan(id_)
        if plan.action == "discard" and fields.get("sure") != "yes":
            raise Failure(
                "Nothing was discarded: you did not say that you are sure.",
                "Go back, read what will be lost, and tick the box.",
                Exit.USAGE,
            )
        self._desk.work.start(id_)
        return RedirectResponse(f"/jobs/{id_}", 303)

    async def job(self, request: Request) -> Response:
        job = self._desk.work.find_job(request.path_params["id"])
        if job.running:
            await asyncio.sleep(0.2)  # most end by then
        return self._page("job.html", job=job, most=_SHOWN, record=self._desk.record.absolute())

    async def ask_about_session(self, request: Request) -> Response:
        from revoker.face import session as ask  # loads the libraries for HTTP and login

        await self._desk.access.form(request)
        session_id = read_id(request.path_params["session_id"])
        environment = self._desk.environment
        self._desk.findings[session_id] = await ask(
            setting("face_endpoint", environment),
            setting("face_api_version", environment),
            face_scope(environment),
            environment.get("AZURE_CLIENT_ID", "").strip() or None,
            session_id,
            None,
        )
        return RedirectResponse(f"/sessions/{session_id}", 303)

    async def examine(self, request: Request) -> Response:
        from revoker.doctor.chain import examine

        await self._desk.access.form(request)
        results = await examine(self._desk.environment)
        self._desk.diagnosis = Diagnosis(datetime.now(UTC), results)
        return RedirectResponse("/doctor", 303)

    # ---- what went wrong ----

    def refused(self, _: Request, why: str) -> Response:
        return self._page("refused.html", 403, why=why)

    def failed(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, Failure)
        status = {Exit.USAGE: 400, Exit.WRONG: 404}.get(error.code, 502)
        return self._page("failed.html", status, cause=error.cause, remedy=error.remedy)

    def not_found(self, _request: Request, _error: Exception) -> Response:
        return self._page(
            "failed.html", 404, cause="There is no such page.", remedy="Begin with the overview."
        )
