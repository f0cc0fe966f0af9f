"""The agent's part of the node's listener: what tasks said on stderr, and login sessions."""

import re

from aiohttp import web

from jobs.agent.agent import Agent
from jobs.model.login import NODE_PATH as LOGIN_PATH
from jobs.model.wire import pack
from manta.core.errors import NodeUnavailable, NotFound

_SAID = re.compile(r"/agent/said/([0-9a-f]{20})/of/([^/]{1,200})/([0-9]{1,18})(/now)?")
_STDERR = re.compile(r"/agent/stderr/([0-9a-f]{20})/([0-9]{1,18})(?:/([0-9]{1,9}))?")


class AgentRoutes:
    """Handles `/agent/…`; the node's server has verified the token. NodeUnavailable until `agent` is set."""

    def __init__(self) -> None:
        self.agent: Agent | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        agent, path = self.agent, request.raw_path
        if agent is None:
            raise NodeUnavailable("The node has no agent now.")
        if request.method == "GET":
            if path == LOGIN_PATH:
                return await agent.sessions.serve(request)
            if (followed := _SAID.fullmatch(path)) is not None:
                job_id, account, after, now = followed.groups()
                return _bytes(pack(await agent.stderr.feeds.news(job_id, account, int(after), wait=now is None)))
            if (named := _STDERR.fullmatch(path)) is not None:
                job_id, task_id, attempt = named.groups()
                return _bytes(pack(agent.stderr.read(job_id, int(task_id), int(attempt or 0))))
        raise NotFound("The node's agent has no such call.")


def _bytes(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/octet-stream")
