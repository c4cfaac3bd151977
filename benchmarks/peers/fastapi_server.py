"""What one writes first: a FastAPI endpoint that runs the model. No batching; FastAPI's thread pool runs it."""

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.peers.work import Work, encode, media_type, port

app = FastAPI()
work = Work()


class Request(BaseModel):
    """The body of a request."""

    n: int
    seed: int
    png: bool = False


@app.post("/sample")
def sample(request: Request) -> Response:
    """Draw images."""
    pixels = work.pixels(work.codes(request.n, request.seed))
    return Response(encode(pixels, request.png), media_type=media_type(request.png))


if __name__ == "__main__":
    uvicorn.run(app, port=port(), loop="uvloop", http="httptools", access_log=False, log_level="warning")
