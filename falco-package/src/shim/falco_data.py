"""Objects for a function: what `args["input"]`, `args["in"]` and `args["out"]` are.

Falco puts this file beside the function, and its shim turns the references of an argument into the classes below. It
reads and writes by URLs that were signed for one call: no credentials, no packages.
"""

import errno
import io
import json
import os
import random
import tempfile
import threading
import time
from contextlib import contextmanager
from heapq import merge
from itertools import accumulate, chain, groupby, islice
from json.encoder import encode_basestring as quoted
from operator import itemgetter
from urllib.parse import unquote, urlsplit
from zlib import compressobj, crc32, decompressobj

TRIES = 4
# Codes of S3 and Azure for it.
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
AT_ONCE = 8
BUFFER = 1 << 20
UNKNOWN_MEMORY = 256 << 20
# Beside the bytes of a line: the object, its place in a list, and what the allocator rounds up.
LINE_OVERHEAD = 90
# The window size that makes zlib write and read gzip.
GZIP = 31
# Values of these types take no memory worth counting.
SMALL = frozenset((int, float, bool, type(None)))

encode_any = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
decode = json.JSONDecoder().decode
# So many short lines are parsed at once, which is faster than one by one.
LINES_AT_ONCE = 16
SHORT = 1 << 12


def encode(value):
    """The JSON text of a value. Most values are whole numbers and text, for which the encoder takes three times as long."""
    kind = type(value)
    return repr(value) if kind is int else quoted(value) if kind is str else encode_any(value)


def line_of(key, value):
    return f"[{quoted(key)},{encode(value)}]\n".encode()


class UrlExpired(Exception):
    """A signed URL is too old: the call waited too long, or the function ran too long."""


class UrlExpiredBeforeStart(UrlExpired):
    """It was too old before the function was called."""


class ObjectChanged(Exception):
    """An object is not the one that was planned."""


class ObjectMissing(Exception):
    """An object is not there any more."""


class StoreRefused(Exception):
    """The store understood a request and refused it."""


class StoreUnavailable(Exception):
    """The store did not answer, or only with errors of its own."""


class TemporaryFolderFull(Exception):
    """What is being sorted or written does not fit into the temporary folder."""


# ---- requests -------------------------------------------------------------------------------------------------------

idle = {}
idle_lock = threading.Lock()


def connect(parts):
    """A connection, and whether it was kept from an earlier request."""
    import http.client
    import socket

    with idle_lock:
        kept = idle.get((parts.scheme, parts.netloc))
        if kept:
            return kept.pop(), True
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=60, blocksize=1 << 16)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection, False


def keep(parts, connection):
    with idle_lock:
        kept = idle.setdefault((parts.scheme, parts.netloc), [])
        if len(kept) < AT_ONCE:
            return kept.append(connection)
    connection.close()


def forget(parts):
    """Closes all kept connections: the server has closed one, and most likely the others as well."""
    with idle_lock:
        kept = idle.pop((parts.scheme, parts.netloc), [])
    for connection in kept:
        connection.close()


def answer_at_once(connection):
    """Acknowledges what arrives without delay: a server with Nagle's algorithm waits for that."""
    import socket

    try:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    except (AttributeError, OSError):
        pass


def shown(url):
    """A URL without its signature, which is a secret until it expires."""
    return url.partition("?")[0]


def request(method, url, until, headers, body=None):
    """Sends a request until it is answered, and returns the connection's parts, the connection and the answer."""
    parts = urlsplit(url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    problem = None
    for attempt in range(TRIES):
        if attempt:
            pause(attempt, problem)
        connection, is_kept = None, False
        try:
            check_time(url, until)
            connection, is_kept = connect(parts)
            if body is not None and hasattr(body, "seek"):
                body.seek(0)
            connection.request(method, target, body, headers)
            answer_at_once(connection)
            answer = connection.getresponse()
            if answer.status < 300:
                return parts, connection, answer
            text = answer.read(4096).decode("utf-8", "replace")
        except UrlExpired:
            raise
        except Exception as error:
            if connection is not None:
                connection.close()
            if is_kept:
                forget(parts)
            problem = "%s: %s" % (type(error).__name__, error)
            continue
        connection.close()
        problem = refusal(method, url, until, answer, text)
        if not isinstance(problem, tuple):
            raise problem
    why = problem[1] if isinstance(problem, tuple) else problem
    raise StoreUnavailable("%s %s failed %d times, the last time with %s" % (method, shown(url), TRIES, why))


def pause(attempt, problem):
    wait = problem[0] if isinstance(problem, tuple) else None
    if wait is None:
        wait = random.uniform(0.05, 0.1) * 4**attempt
    time.sleep(min(wait, 20.0))


def check_time(url, until):
    if until is not None and time.time() > until:
        raise UrlExpired(
            "the signed URL of %s was good until %s, and it is %s: raise the lifetime of URLs, or check the clocks"
            % (shown(url), stamp(until), stamp(time.time()))
        )


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def refusal(method, url, until, answer, text):
    """An exception, or the wait that the store asks for and the reason."""
    code = text.partition("<Code>")[2].partition("</Code>")[0]
    reason = "%d %s" % (answer.status, code or answer.reason)
    if answer.status in (408, 429, 500, 502, 503, 504):
        after = answer.getheader("Retry-After") or ""
        return (float(after) if after.isdigit() else None, reason)
    place = "%s %s: %s" % (method, shown(url), reason)
    if answer.status in (400, 401, 403):
        try:
            check_time(url, until)
        except UrlExpired as error:
            return error
        if "Expired" in code or "expired" in text:
            return UrlExpired(
                "%s: the signed URL or the credentials that signed it have expired by the clock of the store" % place
            )
    if answer.status in (412, 416):
        return changed(url)
    # There is nothing to miss where an object is written.
    if answer.status == 404 and method == "GET" and code not in NO_BUCKET:
        return ObjectMissing("%s is not there: was the run cleaned up, or did a lifecycle rule delete it?" % shown(url))
    return StoreRefused(place + advice(answer.status, code))


def advice(status, code):
    """Advice about a refusal, where the status or the code of the store gives it."""
    if status == 404:
        return ": create the bucket, or correct its name"
    if status in (301, 307) or code in ("AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"):
        return ": set the region of the bucket at the driver, such as with AWS_REGION"
    if status in (401, 403):
        return ": allow the account that signs to read and write there; temporary credentials may have ended"
    if status == 413 or code == "EntityTooLarge":
        return ": the store takes no object of this size by one request: write more and smaller ones"
    return ""


def changed(url):
    return ObjectChanged("%s has changed since it was planned: plan the run again" % shown(url))


def version_of(etag):
    """The version alone: listings and answers differ in quotes."""
    return (etag[2:] if etag.startswith("W/") else etag).strip('"')


# ---- reading --------------------------------------------------------------------------------------------------------


def path_of(url):
    return unquote(urlsplit(url).path)


class FileRange(io.RawIOBase):
    """A range of a file."""

    def __init__(self, url, first, last, etag):
        try:
            self.file = open(path_of(url), "rb", 0)
        except FileNotFoundError:
            raise ObjectMissing("%s is not there" % shown(url)) from None
        if etag is not None:
            now = os.fstat(self.file.fileno())
            if etag.strip('"') != "%x-%x-%x" % (now.st_ino, now.st_mtime_ns // 1000, now.st_size):
                raise changed(url)
        self.url, self.left = url, None if last is None else last - first
        self.file.seek(first)

    def readable(self):
        return True

    def readinto(self, buffer):
        if self.left == 0:
            return 0
        if self.left is not None and self.left < len(buffer):
            buffer = memoryview(buffer)[: self.left]
        count = self.file.readinto(buffer)
        if self.left is not None:
            if count == 0:
                raise ObjectChanged("%s is shorter than planned: plan the run again" % shown(self.url))
            self.left -= count
        return count

    def close(self):
        self.file.close()
        super().close()


class HttpRange(io.RawIOBase):
    """A range of an object behind HTTP. It goes on where a connection broke off."""

    def __init__(self, url, first, last, etag, until):
        self.url, self.position, self.last, self.etag, self.until = url, first, last, etag, until
        self.answer = None
        self.breaks = 0

    def readable(self):
        return True

    def open(self):
        headers = {}
        if self.last is not None:
            headers["Range"] = "bytes=%d-%d" % (self.position, self.last - 1)
        elif self.position:
            headers["Range"] = "bytes=%d-" % self.position
        if self.etag:
            headers["If-Match"] = self.etag
        self.parts, self.connection, self.answer = request("GET", self.url, self.until, headers)
        if headers.get("Range") and self.answer.status != 206:
            raise StoreRefused("GET %s: the store ignores ranges" % shown(self.url))
        if self.last is None and self.answer.length is not None:
            self.last = self.position + self.answer.length
        # A part that is read later has to be of the same object. Not every store heeds If-Match.
        found = self.answer.getheader("ETag")
        if self.etag and found and version_of(found) != version_of(self.etag):
            self.connection.close()
            raise changed(self.url)
        self.etag = self.etag or found

    def readinto(self, buffer):
        while self.last is None or self.position < self.last:
            if self.answer is None:
                self.open()
            try:
                answer_at_once(self.connection)
                count = self.answer.readinto(buffer)
                problem = "fewer bytes than announced"
            except Exception as error:
                count, problem = 0, "%s: %s" % (type(error).__name__, error)
            if count:
                self.position += count
                return count
            if self.last is None:
                break
            self.connection.close()
            self.answer = None
            self.breaks += 1
            if self.breaks == TRIES:
                raise StoreUnavailable("GET %s broke off %d times, the last time with %s" % (shown(self.url), TRIES, problem))
            pause(self.breaks, None)
        if self.answer is not None:
            # Whether it is whole: http.client says so only when it has seen the end.
            self.answer.read()
            keep(self.parts, self.connection)
            self.answer = None
            self.last = self.position
        return 0

    def close(self):
        if self.answer is not None:
            self.connection.close()
            self.answer = None
        super().close()


class Unzipped(io.RawIOBase):
    """The content of gzip members that follow one another."""

    def __init__(self, read, stream=None):
        self.read_packed, self.packed, self.member, self.stream = read, b"", None, stream

    def readable(self):
        return True

    def readinto(self, buffer):
        while True:
            if not self.packed:
                self.packed = self.read_packed()
                if not self.packed:
                    if self.member is not None:
                        raise EOFError("gzip data ends in the middle")
                    return 0
            if self.member is None:
                self.member = decompressobj(GZIP)
            data = self.member.decompress(self.packed, len(buffer))
            self.packed = self.member.unconsumed_tail or self.member.unused_data
            if self.member.eof:
                self.member = None
            if data:
                buffer[: len(data)] = data
                return len(data)

    def close(self):
        if self.stream is not None:
            self.stream.close()
        super().close()


def opened(url, first, last, etag=None, until=None):
    raw = FileRange(url, first, last, etag) if url.startswith("file:") else HttpRange(url, first, last, etag, until)
    return io.BufferedReader(raw, BUFFER)


class Input:
    """A split or an object: the bytes that this call is to read."""

    def __init__(self, references):
        self.references = references

    @property
    def url(self):
        """Where it is, without a signature."""
        return self.references[0]["url"]

    @property
    def range(self):
        """The first byte and the one after the last; None for a whole object."""
        return self.references[0].get("range")

    def open(self):
        """A binary stream of exactly these bytes. Objects that share the split follow one another, each on a line of its
        own."""
        streams = self.streams()
        return next(streams) if len(self.references) == 1 else io.BufferedReader(Chain(streams), BUFFER)

    def lines(self):
        """The lines, as bytes with their ends."""
        for stream in self.streams():
            with stream:
                yield from stream

    def read(self):
        """All bytes."""
        with self.open() as stream:
            return stream.read()

    def text(self, encoding="utf-8"):
        """A stream of text, as `csv.reader` takes it."""
        return io.TextIOWrapper(self.open(), encoding, newline="")

    def whole(self):
        """The whole object to which the range belongs."""
        return Input([{key: value for key, value in self.references[0].items() if key != "range"}])

    @property
    def size(self):
        """The bytes of the whole object; None where the reference does not say it."""
        return self.references[0].get("size")

    def part(self, first, last):
        """Other bytes of the object to which the range belongs, from `first` to the one before `last`."""
        if len(self.references) != 1 or self.references[0].get("gzip"):
            raise ValueError("packed and compressed objects have no parts: read them as a whole")
        return Input([{**self.references[0], "range": [first, last]}])

    def file(self):
        """The whole object as a file in which one can seek, as libraries for Parquet take it. It fetches what is read."""
        return io.BufferedReader(WholeFile(self), 1 << 16)

    def streams(self):
        for it in self.references:
            first, last = it.get("range") or (0, None)
            stream = opened(it["get"], first, last, it.get("etag"), it.get("until"))
            if it.get("gzip"):
                stream = io.BufferedReader(Unzipped(lambda read=stream.read1: read(BUFFER), stream), BUFFER)
            yield stream


class WholeFile(io.RawIOBase):
    """An object in which one can seek."""

    def __init__(self, part_of):
        if part_of.size is None:
            raise ValueError("the reference to %s does not say how large it is: plan it by splits" % part_of.url)
        self.part, self.size, self.position = part_of.part, part_of.size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        self.position = max(0, offset + (0, self.position, self.size)[whence])
        return self.position

    def readinto(self, buffer):
        last = min(self.position + len(buffer), self.size)
        if last <= self.position:
            return 0
        data = self.part(self.position, last).read()
        buffer[: len(data)] = data
        self.position = last
        return len(data)


class Chain(io.RawIOBase):
    """Streams that follow one another. What one ends with and what the next begins with never share a line."""

    def __init__(self, streams):
        self.streams, self.now, self.ends_line = streams, None, True

    def readable(self):
        return True

    def readinto(self, buffer):
        while True:
            if self.now is None:
                self.now = next(self.streams, None)
                if self.now is None:
                    return 0
                if not self.ends_line:
                    self.ends_line = True
                    buffer[:1] = b"\n"
                    return 1
            count = self.now.readinto(buffer)
            if count:
                self.ends_line = buffer[count - 1] == 10
                return count
            self.now.close()
            self.now = None


# ---- writing --------------------------------------------------------------------------------------------------------


def store(target, body, length):
    """Writes an object from a file, or from pieces in a list."""
    url = target["put"]
    if url.startswith("file:"):
        return store_file(path_of(url), body)
    headers = dict(target.get("headers") or {})
    headers["Content-Length"] = str(length)
    parts, connection, answer = request("PUT", url, target.get("until"), headers, body)
    try:
        answer.read()
    except Exception:
        # The status has said that the object is there.
        connection.close()
    else:
        keep(parts, connection)


def store_file(path, body):
    # A name that listings leave out, until it is whole.
    staged = "%s#%d%d" % (path, os.getpid(), random.getrandbits(40))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(staged, "wb") as file:
            if hasattr(body, "seek"):
                body.seek(0)
                read = body.read
                body = iter(lambda: read(BUFFER), b"")
            for piece in body:
                file.write(piece)
        os.replace(staged, path)
    except OSError as error:
        if os.path.exists(staged):
            os.unlink(staged)
        raise StoreRefused("%s cannot be written: %s" % (path, error.strerror)) from error


def temporary():
    return tempfile.TemporaryFile(prefix="falco-data-")


@contextmanager
def temporary_space():
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise TemporaryFolderFull(
            "the temporary folder %s is full: give the function more of it, or use more and smaller pieces" % tempfile.gettempdir()
        ) from error


def written(file, pieces):
    """Writes pieces at the end of a temporary file."""
    with temporary_space():
        for piece in pieces:
            file.write(piece)
        file.flush()


def zipped(pieces, even_empty):
    """The pieces as one member of gzip; nothing for no bytes, unless `even_empty`."""
    member, is_empty = compressobj(1, wbits=GZIP), not even_empty
    # Even no bytes make it return the header of a member.
    for piece in filter(None, pieces):
        is_empty = False
        packed = member.compress(piece)
        if packed:
            yield packed
    if not is_empty:
        yield member.flush()


class Output:
    """One object to write. Without partitions it takes bytes; with partitions, bytes for each or keys with values."""

    def __init__(self, target, memory):
        self.target, self.bound, self.fold, self.reference = target, memory // 4, None, None
        self.partitions, self.gzip = target.get("partitions"), target.get("gzip", False)
        self.count = self.partitions or 1
        self.is_sorted, self.held, self.runs, self.file = None, 0, [], None
        self.made, self.is_broken = None, False
        self.buckets = [[] for _ in range(self.count)]

    def write(self, data):
        """Adds bytes to an object without partitions."""
        if self.partitions is not None:
            raise TypeError("this object has partitions: use emit, or partition(number).write")
        return self.add(0, data)

    def partition(self, number):
        """The partition with this number, which takes bytes of any kind by `write`."""
        if self.partitions is None:
            raise TypeError("this object has no partitions: use write")
        if not 0 <= number < self.count:
            raise ValueError("partition %d is not one of the %d" % (number, self.count))
        return Partition(self, number)

    def add(self, number, data):
        self.becomes(False)
        data = bytes(data)
        self.buckets[number].append(data)
        self.hold(len(data) + 40)
        return len(data)

    def combine(self, fold):
        """Folds the values of a key into one as they come: `fold(a, b)` has to take them in any order."""
        self.becomes(True)
        if self.held or self.runs:
            raise TypeError("combine has to come before the first emit")
        self.fold = fold
        self.buckets = [{} for _ in range(self.count)]
        return self

    def emit(self, key, value):
        """Adds a value, which JSON can write, under a key, which is text."""
        if self.is_sorted is not True:
            if self.partitions is None:
                raise TypeError("this object has no partitions, so that nothing can be emitted: use write")
            self.becomes(True)
        if type(key) is not str:
            raise TypeError("a key has to be a str, and it is of type %s" % type(key).__name__)
        bucket = self.buckets[crc32(key.encode()) % self.count]
        if self.fold is None:
            line = line_of(key, value)
            bucket.append(line)
            self.held += len(line) + LINE_OVERHEAD
        elif key in bucket:
            bucket[key] = self.fold(bucket[key], value)
            if type(value) in SMALL:
                return
            # The folded value may have grown by as much.
            self.held += len(encode(value))
        else:
            bucket[key] = value
            self.held += len(key) + 2 * LINE_OVERHEAD + (0 if type(value) in SMALL else len(encode(value)))
        if self.held > self.bound:
            self.make_room()

    def becomes(self, is_sorted):
        if self.made is not None:
            raise ValueError("the object is closed")
        self.check()
        if self.is_sorted is not None and self.is_sorted is not is_sorted:
            raise TypeError("keys with values and plain bytes cannot share an object")
        self.is_sorted = is_sorted

    def check(self):
        if self.is_broken:
            raise ValueError("a part of the object is lost, since an earlier write failed: raise that error")

    def hold(self, length):
        self.held += length
        if self.held > self.bound:
            self.spill()

    def make_room(self):
        """Counts again where folding may have made less of it; else moves what is in memory to a run on disk."""
        if self.fold is not None:
            values = (it for bucket in self.buckets for it in bucket.items())
            self.held = sum(len(key) + len(encode(value)) + 2 * LINE_OVERHEAD for key, value in values)
        if 2 * self.held > self.bound:
            self.spill()

    def taken(self, number):
        """The pieces of a partition that are in memory, in their order. They are not in memory twice afterwards."""
        bucket, self.buckets[number] = self.buckets[number], ()
        if self.fold is not None:
            bucket = [line_of(key, value) for key, value in bucket.items()]
        if self.is_sorted:
            bucket.sort()
        return bucket

    def spill(self):
        """Moves what is in memory to a run on disk."""
        self.is_broken = True
        if self.file is None:
            self.file = temporary()
        bounds = [self.file.seek(0, 2)]
        for number in range(self.count):
            written(self.file, self.taken(number))
            bounds.append(self.file.tell())
        self.runs.append(bounds)
        self.buckets = [{} if self.fold is not None else [] for _ in range(self.count)]
        self.held, self.is_broken = 0, False

    def merged(self, number):
        """The pieces of a partition from all runs and from memory."""
        runs = [(run[number], run[number + 1]) for run in self.runs if run[number] < run[number + 1]]
        kept = self.taken(number)
        if not self.is_sorted:
            for first, last in runs:
                yield from pieces_of(reader(self.file), first, last, BUFFER)
            yield from kept
            return
        step = step_of(self.bound, len(runs))
        lines = merge(*[lines_of(reader(self.file), first, last, step) for first, last in runs], kept) if runs else kept
        if self.fold is None or not runs:
            yield from lines
            return
        for key, values in grouped(lines):
            folded = next(values)
            for value in values:
                folded = self.fold(folded, value)
            yield line_of(key, folded)

    def packed(self, number):
        """What the object holds of a partition."""
        pieces = self.merged(number)
        return zipped(pieces, self.partitions is None) if self.gzip else pieces

    def body(self):
        """The object, in memory or in a file, and the lengths of its partitions. It can be made once."""
        if not self.runs:
            kept = [b"".join(self.packed(number)) for number in range(self.count)]
            return kept, [len(it) for it in kept]
        if self.partitions is None and not self.gzip:
            # The runs follow one another, as the bytes of the object do.
            self.file.seek(0, 2)
            written(self.file, self.taken(0))
            return self.file, [self.file.tell()]
        body, ends = temporary(), [0]
        for number in range(self.count):
            written(body, self.packed(number))
            ends.append(body.tell())
        return body, [last - first for first, last in zip(ends, ends[1:])]

    def close(self):
        """Writes the object and returns its reference, for the result of the function."""
        if self.reference is not None:
            return self.reference
        if self.made is None:
            self.check()
            self.is_broken = True
            self.made = self.body()
            self.is_broken = False
        self.check()
        body, lengths = self.made
        size = sum(lengths)
        store(self.target, body, size)
        self.buckets, self.runs, self.file, self.made = [], [], None, ((), [])
        reference = {"url": self.target["url"], "size": size}
        if self.partitions is not None:
            reference["parts"] = lengths
        if self.gzip:
            reference["gzip"] = True
        self.reference = {"falco:object": reference}
        return self.reference

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()


class Partition:
    """One partition of an object that is being written."""

    def __init__(self, output, number):
        self.output, self.number = output, number

    def write(self, data):
        """Adds bytes."""
        return self.output.add(self.number, data)


# ---- reducing -------------------------------------------------------------------------------------------------------


def reader(data):
    """Reads bytes from one place to another, of a file or in memory."""
    if isinstance(data, (bytes, memoryview)):
        return lambda first, last: bytes(data[first:last])
    return lambda first, last: os.pread(data.fileno(), last - first, first)


def step_of(bound, sources):
    """How much to read at once of each of so many sources: their lines take a few times as much memory."""
    return max(1 << 10, min(bound // (8 * max(sources, 1)), 1 << 16))


def pieces_of(read, first, last, step):
    while first < last:
        piece = read(first, min(last, first + step))
        if not piece:
            raise EOFError("a temporary file has become shorter")
        first += len(piece)
        yield piece


def unzipped(pieces, step):
    """The content of gzip members that follow one another, piece by piece."""
    raw, buffer = Unzipped(lambda: next(pieces, b"")), bytearray(step)
    for count in iter(lambda: raw.readinto(buffer), 0):
        yield bytes(buffer[:count])


def lines_of(read, first, last, step, gzip=False):
    pieces = pieces_of(read, first, last, step)
    rest = b""
    for piece in unzipped(pieces, step) if gzip else pieces:
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def parsed(lines):
    """Keys and values, some lines at a time."""
    lines, count = iter(lines), 1
    while True:
        batch = b",".join(islice(lines, count))
        if not batch:
            return
        yield decode(f"[{batch.decode()}]")
        count = LINES_AT_ONCE if len(batch) < SHORT * count else 1


def grouped(lines):
    """Keys with their values, out of sorted lines: all lines of a key are neighbours."""
    for key, pairs in groupby(chain.from_iterable(parsed(lines)), itemgetter(0)):
        yield key, (value for _, value in pairs)


class Parts:
    """What all mappers wrote for the partitions of this call."""

    def __init__(self, reference, memory):
        self.bound, self.entries, self.gzip = memory // 4, [], reference.get("gzip", False)
        until = reference.get("until")
        for group in reference["groups"]:
            for name, signature, *bounds in group["parts"]:
                url = group["head"] + name + group["mid"] + signature + group["tail"]
                self.entries.append((url, until, bounds))

    def __len__(self):
        """The number of bytes in the store."""
        return sum(map(length_of, self.entries))

    def parts(self):
        """The bytes that each mapper wrote, one after the other."""
        for (_, _, bounds), data in zip(self.entries, self.fetched()):
            for first, last in zip(bounds, bounds[1:]):
                if first < last:
                    part = data[first - bounds[0] : last - bounds[0]]
                    yield b"".join(unzipped(iter((part,)), BUFFER)) if self.gzip else part

    def groups(self):
        """Each key with an iterator over its values, sorted by key."""
        for lines in self.sorted():
            yield from grouped(lines)

    def lines(self):
        """The lines of each partition in order, as `emit` wrote them."""
        for lines in self.sorted():
            yield from lines

    def sorted(self):
        """The sorted lines of one partition after the other."""
        count = max((len(bounds) - 1 for _, _, bounds in self.entries), default=0)
        if len(self) > self.bound:
            with temporary() as file:
                starts = self.fetch_into(file)
                for number in range(count):
                    yield self.merged(number, [(reader(file), start) for start in starts])
            return
        data = list(self.fetched())
        for number in range(count):
            if 4 * len(self) <= self.bound and not self.gzip:
                # Its lines fit as well.
                slices = (it[b[number] - b[0] : b[number + 1] - b[0]] for (_, _, b), it in zip(self.entries, data))
                lines = b"".join(slices).splitlines(True)
                lines.sort()
                yield lines
            else:
                yield self.merged(number, [(reader(it), 0) for it in data])

    def merged(self, number, sources):
        """The sorted lines of a partition, out of sources that begin at a place."""
        step = step_of(self.bound, len(sources))
        slices = [
            lines_of(read, start + b[number] - b[0], start + b[number + 1] - b[0], step, self.gzip)
            for (read, start), (_, _, b) in zip(sources, self.entries)
            if b[number] < b[number + 1]
        ]
        return merge(*slices)

    def fetch_into(self, file):
        """Fetches all entries into a file, and returns where they begin."""
        lengths = list(map(length_of, self.entries))
        starts = [0, *accumulate(lengths)][:-1]

        def fetch_one(entry, at):
            with opened_entry(entry) as stream, temporary_space():
                for piece in iter(lambda: stream.read(BUFFER), b""):
                    while piece:
                        sent = os.pwrite(file.fileno(), piece, at)
                        at, piece = at + sent, piece[sent:]

        # Each holds a piece at a time.
        for _ in at_once(fetch_one, list(zip(self.entries, starts)), [BUFFER] * len(lengths), self.bound):
            pass
        return starts

    def fetched(self):
        """The bytes of each entry, in order; some are fetched ahead."""
        return at_once(fetch, [(entry,) for entry in self.entries], list(map(length_of, self.entries)), self.bound)


def at_once(work, arguments, lengths, bound):
    """The results of `work`, in order. Some calls run ahead, as many as their lengths fit into the bound."""
    if len(arguments) < 2 or arguments[0][0][0].startswith("file:"):
        for it in arguments:
            yield work(*it)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as threads:
        ahead, held, following = [], 0, 0
        for current in range(len(arguments)):
            while following < len(arguments) and len(ahead) < AT_ONCE and (not ahead or held + lengths[following] <= bound):
                ahead.append(threads.submit(work, *arguments[following]))
                held += lengths[following]
                following += 1
            yield ahead.pop(0).result()
            held -= lengths[current]


def length_of(entry):
    return entry[2][-1] - entry[2][0]


def opened_entry(entry):
    url, until, bounds = entry
    if bounds[0] == bounds[-1]:
        return io.BytesIO()
    return opened(url, bounds[0], bounds[-1], None, until)


def fetch(entry):
    with opened_entry(entry) as stream:
        return stream.read()


# ---- for the shim ---------------------------------------------------------------------------------------------------


def falco_argument(value):
    """The argument with its references turned into objects, and where a long result may go."""
    if not isinstance(value, dict) or "falco:data" not in value:
        return value, None
    settings, spill = value.pop("falco:data"), value.pop("falco:spill", None)
    memory = settings.get("memory") or UNKNOWN_MEMORY
    try:
        if "falco:argument" in value:
            value = json.loads(whole(value["falco:argument"]))
        # After a stage that spilled its result, the whole argument is a reference.
        return resolved(value, memory), spill
    except UrlExpired as error:
        raise UrlExpiredBeforeStart(str(error)) from error


def resolved(value, memory):
    if isinstance(value, list):
        return [resolved(it, memory) for it in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (name, it), = value.items()
        if name == "falco:object":
            return Input([it])
        if name == "falco:objects":
            return Input(it)
        if name == "falco:sink":
            return Output(it, memory)
        if name == "falco:parts":
            return Parts(it, memory)
        if name == "falco:value":
            return resolved(json.loads(whole(it)), memory)
    return {name: resolved(it, memory) for name, it in value.items()}


def whole(reference):
    with opened(reference["get"], 0, reference.get("size"), None, reference.get("until")) as stream:
        return stream.read()


def falco_result(text, spill):
    """The text of a result, or of a reference to it where it is too long."""
    if spill is None or len(text) <= spill["over"]:
        return text
    if len(text) > spill["most"]:
        raise ValueError("the result has %d bytes, and %d are allowed" % (len(text), spill["most"]))
    store(spill, [text], len(text))
    return encode({"falco:value": {"url": spill["url"], "size": len(text)}}).encode()
