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
from heapq import merge
from itertools import groupby
from operator import itemgetter
from urllib.parse import unquote, urlsplit
from zlib import crc32

TRIES = 4
AT_ONCE = 8
BUFFER = 1 << 20
UNKNOWN_MEMORY = 256 << 20
LINE_OVERHEAD = 90

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
decode = json.JSONDecoder().decode


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
    import http.client
    import socket

    with idle_lock:
        kept = idle.get((parts.scheme, parts.netloc))
        if kept:
            return kept.pop()
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def keep(parts, connection):
    with idle_lock:
        kept = idle.setdefault((parts.scheme, parts.netloc), [])
        if len(kept) < AT_ONCE:
            return kept.append(connection)
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
        connection = None
        try:
            check_time(url, until)
            connection = connect(parts)
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
            return UrlExpired("%s: the signed URL has expired by the clock of the store" % place)
    if answer.status in (412, 416):
        return ObjectChanged("%s has changed since it was planned: plan the run again" % shown(url))
    if answer.status == 404:
        return ObjectMissing("%s is not there: was the run cleaned up, or did a lifecycle rule delete it?" % shown(url))
    return StoreRefused(place)


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
                raise ObjectChanged("%s has changed since it was planned: plan the run again" % shown(url))
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
        # A part that is read later has to be of the same object.
        self.etag = self.etag or self.answer.getheader("ETag")

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
        """A binary stream of exactly these bytes. Objects that share the split follow one another."""
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
        """The whole object to which the range belongs, such as for the footer of a Parquet file."""
        return Input([{key: value for key, value in self.references[0].items() if key != "range"}])

    def streams(self):
        for it in self.references:
            first, last = it.get("range") or (0, None)
            yield opened(it["get"], first, last, it.get("etag"), it.get("until"))


class Chain(io.RawIOBase):
    def __init__(self, streams):
        self.streams, self.now = streams, None

    def readable(self):
        return True

    def readinto(self, buffer):
        while True:
            if self.now is None:
                self.now = next(self.streams, None)
                if self.now is None:
                    return 0
            count = self.now.readinto(buffer)
            if count:
                return count
            self.now.close()
            self.now = None


# ---- writing --------------------------------------------------------------------------------------------------------


def store(target, body, length):
    """Writes an object from bytes or a file."""
    url = target["put"]
    if url.startswith("file:"):
        return store_file(path_of(url), body)
    headers = dict(target.get("headers") or {})
    headers["Content-Length"] = str(length)
    parts, connection, answer = request("PUT", url, target.get("until"), headers, body)
    answer.read()
    keep(parts, connection)


def store_file(path, body):
    # A name that listings leave out, until it is whole.
    staged = "%s#%d%d" % (path, os.getpid(), random.getrandbits(40))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(staged, "wb") as file:
            if isinstance(body, bytes):
                file.write(body)
            else:
                body.seek(0)
                for piece in iter(lambda: body.read(BUFFER), b""):
                    file.write(piece)
        os.replace(staged, path)
    except OSError as error:
        if os.path.exists(staged):
            os.unlink(staged)
        raise StoreRefused("%s cannot be written: %s" % (path, error.strerror)) from error


def temporary():
    return tempfile.TemporaryFile(prefix="falco-data-")


def written(file, pieces):
    """Writes pieces to a temporary file."""
    try:
        for piece in pieces:
            file.write(piece)
        file.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise TemporaryFolderFull(
            "the temporary folder %s is full: give the function more of it, or use more and smaller pieces" % tempfile.gettempdir()
        ) from error


class Output:
    """One object to write. Without partitions it takes bytes; with partitions, bytes for each or keys with values."""

    def __init__(self, target, memory):
        self.target, self.bound, self.fold, self.reference = target, memory // 4, None, None
        self.partitions = target.get("partitions")
        self.count = self.partitions or 1
        self.is_sorted, self.held, self.runs, self.file = None, 0, [], None
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
            line = ("[%s,%s]\n" % (encode(key), encode(value))).encode()
            bucket.append(line)
            self.held += len(line) + LINE_OVERHEAD
        elif key in bucket:
            bucket[key] = self.fold(bucket[key], value)
            return
        else:
            bucket[key] = value
            self.held += len(key) + 2 * LINE_OVERHEAD
        if self.held > self.bound:
            self.spill()

    def becomes(self, is_sorted):
        if self.reference is not None:
            raise ValueError("the object is closed")
        if self.is_sorted is not None and self.is_sorted is not is_sorted:
            raise TypeError("keys with values and plain bytes cannot share an object")
        self.is_sorted = is_sorted

    def hold(self, length):
        self.held += length
        if self.held > self.bound:
            self.spill()

    def taken(self, number):
        """The pieces of a partition that are in memory, in their order."""
        bucket = self.buckets[number]
        if self.fold is not None:
            bucket = [("[%s,%s]\n" % (encode(key), encode(value))).encode() for key, value in bucket.items()]
        if self.is_sorted:
            bucket.sort()
        return bucket

    def spill(self):
        """Moves what is in memory to a run on disk."""
        if self.file is None:
            self.file = temporary()
        bounds = [self.file.seek(0, 2)]
        for number in range(self.count):
            written(self.file, self.taken(number))
            bounds.append(self.file.tell())
        self.runs.append(bounds)
        self.buckets = [{} if self.fold is not None else [] for _ in range(self.count)]
        self.held = 0

    def merged(self, number):
        """The pieces of a partition from all runs and from memory."""
        slices = [(self.file, run[number], run[number + 1]) for run in self.runs if run[number] < run[number + 1]]
        if not self.is_sorted:
            for file, first, last in slices:
                yield from pieces_of(file, first, last)
            yield from self.taken(number)
            return
        lines = merge(*[lines_of(*it) for it in slices], self.taken(number)) if slices else self.taken(number)
        if self.fold is None or not slices:
            yield from lines
            return
        for key, values in grouped(lines):
            folded = next(values)
            for value in values:
                folded = self.fold(folded, value)
            yield ("[%s,%s]\n" % (encode(key), encode(folded))).encode()

    def close(self):
        """Writes the object and returns its reference, for the result of the function."""
        if self.reference is not None:
            return self.reference
        lengths = []
        if not self.runs:
            kept = [b"".join(self.merged(number)) for number in range(self.count)]
            lengths = [len(it) for it in kept]
            body, size = b"".join(kept), sum(lengths)
        else:
            body, size = temporary(), 0
            for number in range(self.count):
                written(body, self.merged(number))
                lengths.append(body.tell() - size)
                size = body.tell()
        store(self.target, body, size)
        self.buckets, self.runs, self.file = [], [], None
        reference = {"url": self.target["url"], "size": size}
        if self.partitions is not None:
            reference["parts"] = lengths
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


def pieces_of(file, first, last):
    while first < last:
        piece = os.pread(file.fileno(), min(last - first, BUFFER), first)
        if not piece:
            raise EOFError("a temporary file has become shorter")
        first += len(piece)
        yield piece


def lines_of(file, first, last):
    rest = b""
    while first < last:
        piece = os.pread(file.fileno(), min(last - first, 1 << 16), first)
        if not piece:
            raise EOFError("a temporary file has become shorter")
        first += len(piece)
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def grouped(lines):
    """Keys with their values, out of sorted lines: all lines of a key are neighbours."""
    for key, pairs in groupby(map(decode, map(bytes.decode, lines)), itemgetter(0)):
        yield key, (value for _, value in pairs)


class Parts:
    """What all mappers wrote for the partitions of this call."""

    def __init__(self, reference, memory):
        self.bound, self.entries = memory // 4, []
        until = reference.get("until")
        for group in reference["groups"]:
            for name, signature, *bounds in group["parts"]:
                url = group["head"] + name + group["mid"] + signature + group["tail"]
                self.entries.append((url, until, bounds))

    def __len__(self):
        """The number of bytes."""
        return sum(bounds[-1] - bounds[0] for _, _, bounds in self.entries)

    def parts(self):
        """The bytes that each mapper wrote, one after the other."""
        for (_, _, bounds), data in zip(self.entries, self.fetched()):
            for first, last in zip(bounds, bounds[1:]):
                if first < last:
                    yield data[first - bounds[0] : last - bounds[0]]

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
        if len(self) <= self.bound:
            data = list(self.fetched())
            for number in range(count):
                slices = (it[b[number] - b[0] : b[number + 1] - b[0]] for (_, _, b), it in zip(self.entries, data))
                lines = b"".join(slices).splitlines(True)
                lines.sort()
                yield lines
            return
        with temporary() as file:
            starts, end = [], 0
            for data in self.fetched():
                starts.append(end)
                written(file, [data])
                end += len(data)
            for number in range(count):
                slices = [
                    lines_of(file, start + b[number] - b[0], start + b[number + 1] - b[0])
                    for start, (_, _, b) in zip(starts, self.entries)
                ]
                yield merge(*slices)

    def fetched(self):
        """The bytes of each entry, in order; some are fetched ahead."""
        if len(self.entries) < 2 or self.entries[0][0].startswith("file:"):
            yield from map(fetch, self.entries)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(AT_ONCE) as threads:
            ahead = [threads.submit(fetch, entry) for entry in self.entries[:AT_ONCE]]
            for following in range(len(self.entries)):
                data = ahead.pop(0).result()
                if following + AT_ONCE < len(self.entries):
                    ahead.append(threads.submit(fetch, self.entries[following + AT_ONCE]))
                yield data


def fetch(entry):
    url, until, bounds = entry
    if bounds[0] == bounds[-1]:
        return b""
    with opened(url, bounds[0], bounds[-1], None, until) as stream:
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
    store(spill, text, len(text))
    return encode({"falco:value": {"url": spill["url"], "size": len(text)}}).encode()
