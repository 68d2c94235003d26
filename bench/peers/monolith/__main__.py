"""The monolith that PropMubi replaces, as a competent FastAPI developer would have written it from the roadmap's
sketch: `python -m bench.peers.monolith`, one uvicorn worker.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from bench.peers.monolith import enquiries, listings, request_log
from bench.peers.monolith.database import create_engine, create_sessions
from bench.peers.monolith.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_engine(settings)
        app.state.sessions = create_sessions(engine)
        yield
        await engine.dispose()

    app = FastAPI(title="Monolith", lifespan=lifespan)
    app.state.settings = settings
    app.add_middleware(request_log.RequestLog)
    app.include_router(listings.router)
    app.include_router(enquiries.router)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    settings = Settings()
    request_log.configure(settings.log_level)
    # The request log replaces uvicorn's own. uvloop and httptools, as uvicorn takes them when they are there.
    uvicorn.run(
        create_app(settings),
        host="127.0.0.1",
        port=settings.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()
