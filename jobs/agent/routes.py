"""The agent's part of the node's listener: what tasks said on stderr, and login sessions."""

import re

from aiohttp import web

from jobs.agent.agent import Agent
from jobs.model.login import NODE_PATH as LOGIN_PATH
from jobs.model.wire import pack
from manta.core.errors import NotFound

_SAID = re.compile(r"/agent/said/([0-9a-f]{20})/of/([^/]{1,200})/([0-9]{1,18})(/now)?")
_STDERR = re.compile(r"/agent/stderr/([0-9a-f]{20})/([0-9]{1,18})")


class AgentRoutes:
    """Handles `/agent/…`; the node's server has verified the token. Answers nothing until `agent` is set."""

    def __init__(self) -> None:
        self.agent: Agent | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == LOGIN_PATH and request.method == "GET" and self.agent is not None:
            return await self.agent.sessions.serve(request)
        followed = _SAID.fullmatch(request.raw_path)
        if followed is not None and request.method == "GET" and self.agent is not None:
            job_id, account, after, now = followed.groups()
            news = await self.agent.stderr.feeds.news(job_id, account, int(after), wait=now is None)
            return web.Response(body=pack(news), content_type="application/octet-stream")
        named = _STDERR.fullmatch(request.raw_path)
        if named is None or request.method != "GET" or self.agent is None:
            raise NotFound("The node's agent has no such call.")
        job_id, task_id = named.groups()
        data = self.agent.stderr.read(job_id, int(task_id))
        return web.Response(body=data, content_type="application/octet-stream")
