"""Objects of S3 that are larger than the memory: written in parts while they come, then read back.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from bot.domain.errors import BotError, WrongState
from bot.integrations.aws_answers import TAG, gone

T = TypeVar("T")

PART = 16 * 1024 * 1024  # bytes; S3 takes 10,000 parts, so the largest object is 156 GiB


class Do(Protocol):
    """How a call of the client is made: in a thread, with a deadline, its mistakes named."""

    async def __call__(self, what: str, action: Callable[[], T], *, writes: bool = False) -> T: ...


@dataclass(frozen=True, slots=True)
class UploadedObject:
    """How long an object is in bytes, and the SHA-256 of its content, in hex."""

    size: int
    sha256: str


class Objects:
    """At most two parts are in memory. Nothing is in the bucket before all of it is."""

    def __init__(self, client: Callable[[str], Any], do: Do, part: int = PART) -> None:
        self._client = client
        self._do = do
        self._part = part

    async def made_by(self, bucket: str, name: str) -> str | None:
        """Whose step wrote it; "" when none of ours did, None when it is not there."""

        def look() -> str | None:
            with gone("404", "NoSuchKey", "NotFound"):
                head = self._client("s3").head_object(Bucket=bucket, Key=name)
                return str((head.get("Metadata") or {}).get(TAG, ""))
            return None

        return await self._do("look at the object", look)

    async def write(self, bucket: str, name: str, pieces: AsyncIterator[bytes], key: str) -> UploadedObject:
        """Write what comes. S3 checks each part by its SHA-256, and what then lies there is read back and compared.

        Raises what `pieces` raises; then, as when the task is cancelled, nothing is left. WrongState when nothing
        came, or when what was read back is other than what was sent (it is deleted).
        """
        upload = await self._begin(bucket, name, key)
        digest, size = hashlib.sha256(), 0
        done: list[dict[str, Any]] = []
        try:
            async for part in _parts(pieces, self._part):
                size += len(part)
                done.append(await self._send(upload, part, len(done) + 1, digest.update))
            if not done:
                raise WrongState("backup_empty", name=name)
            await self._complete(upload, done)
        except BaseException:
            with suppress(BotError):
                await asyncio.shield(self._abort(upload))
            raise
        sent = UploadedObject(size, digest.hexdigest())
        if (uploaded_object := await self.read(bucket, name)) != sent:
            await self.delete(bucket, name)
            raise WrongState("backup_damaged", name=name, sent=sent.sha256, found=uploaded_object.sha256)
        return sent

    async def read(self, bucket: str, name: str) -> UploadedObject:
        """Read all of an object, part after part."""
        digest = hashlib.sha256()

        def take(start: int) -> int:
            """Gives the length of the whole."""
            span = f"bytes={start}-{start + self._part - 1}"
            answer = self._client("s3").get_object(Bucket=bucket, Key=name, Range=span)
            digest.update(answer["Body"].read())
            return int(answer["ContentRange"].rpartition("/")[2])

        at, size = 0, 1
        while at < size:
            size = await self._do("read the object", partial(take, at))
            at += self._part
        return UploadedObject(size, digest.hexdigest())

    async def delete(self, bucket: str, name: str) -> None:
        """Also when it is gone already."""
        await self._do(
            "delete the object", lambda: self._client("s3").delete_object(Bucket=bucket, Key=name), writes=True
        )

    async def _begin(self, bucket: str, name: str, key: str) -> dict[str, str]:
        address = {"Bucket": bucket, "Key": name}

        def begin() -> str:
            made = self._client("s3").create_multipart_upload(
                **address, ChecksumAlgorithm="SHA256", Metadata={TAG: key}, ContentType="application/octet-stream"
            )
            return str(made["UploadId"])

        return {**address, "UploadId": await self._do("begin the upload", begin, writes=True)}

    async def _send(
        self, upload: dict[str, str], part: bytes, number: int, count: Callable[[bytes], None]
    ) -> dict[str, Any]:
        def send() -> dict[str, Any]:
            count(part)
            checksum = base64.b64encode(hashlib.sha256(part).digest()).decode()
            made = self._client("s3").upload_part(**upload, PartNumber=number, Body=part, ChecksumSHA256=checksum)
            return {"PartNumber": number, "ETag": made["ETag"], "ChecksumSHA256": checksum}

        return await self._do("write a part", send, writes=True)

    async def _complete(self, upload: dict[str, str], parts: list[dict[str, Any]]) -> None:
        def complete() -> None:
            self._client("s3").complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

        await self._do("complete the upload", complete, writes=True)

    async def _abort(self, upload: dict[str, str]) -> None:
        def abort() -> None:
            with gone("NoSuchUpload"):
                self._client("s3").abort_multipart_upload(**upload)

        await self._do("abort the upload", abort, writes=True)


async def _parts(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in parts of exactly `size`, the last one shorter."""
    kept = bytearray()
    async for piece in pieces:
        kept += piece
        while len(kept) >= size:
            with memoryview(kept) as view:
                part = bytes(view[:size])
            del kept[:size]
            yield part
    if kept:
        yield bytes(kept)
