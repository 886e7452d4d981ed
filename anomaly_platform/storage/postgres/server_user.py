"""Chooses the operating-system user that the embedded PostgreSQL runs as.

Belongs here: choosing that user, and the least opening of folders that lets it reach its data.
PostgreSQL refuses to run as root, and root is what containers run as by default.
"""

import logging
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly_platform.settings.home import SERVER_USER

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user that owns the data folder and runs the server.

    Attributes
    ----------
    uid, gid : int
        Numeric ids.
    is_other : bool
        Whether it differs from the user of this process, which then has to be root.
    """

    uid: int
    gid: int
    is_other: bool

    def process_arguments(self) -> dict[str, Any]:
        """Return the arguments of :class:`subprocess.Popen` that switch to this user."""
        if not self.is_other:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_user(data: Path) -> ServerUser:
    """Choose the user for a data folder.

    Parameters
    ----------
    data : Path
        The data folder, which need not exist yet. Whoever owns an existing one keeps running it.

    Returns
    -------
    ServerUser
        This process's own user, unless that is root.

    Raises
    ------
    PermissionError
        When the data folder belongs to somebody else and this process is not root.
    """
    own = os.geteuid()
    owner = data.stat().st_uid if data.exists() else None
    if own != 0:
        if owner is not None and owner != own:
            raise PermissionError(
                f"the embedded PostgreSQL in {data} belongs to another user (uid {owner}): "
                "run as that user or as root, or choose another ANOMALY_HOME"
            )
        return ServerUser(own, os.getegid(), is_other=False)
    if owner is not None and owner != 0:
        return ServerUser(owner, data.stat().st_gid, is_other=True)
    entry = _added_user()
    return ServerUser(entry.pw_uid, entry.pw_gid, is_other=True)


def _added_user() -> pwd.struct_passwd:
    """Return the platform's system user, adding it when it is not there yet."""
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        useradd = shutil.which("useradd")
    if useradd is not None:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [
                useradd,
                "--system",
                "--no-create-home",
                "--shell",
                shutil.which("nologin") or "/bin/false",
                SERVER_USER,
            ],
            check=False,
            capture_output=True,
        )
        # Another process may have added it in the same moment, which is as good.
        try:
            return pwd.getpwnam(SERVER_USER)
        except KeyError:
            _log.warning("user %s not added: useradd exits with %s", SERVER_USER, done.returncode)
    # Images without useradd, or with a read-only /etc: every system has this one.
    return pwd.getpwnam("nobody")


def open_way(target: Path) -> None:
    """Let other users pass through the folders above `target`, as far as root has to.

    Only the right to pass is added (``o+x``), never the right to list or read.

    Parameters
    ----------
    target : Path
        An absolute path; itself left as it is.
    """
    for folder in target.parents:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
            _log.info("other users may now pass through %s", folder)


def give_way(home: Path, user: ServerUser) -> None:
    """Let the server's user, and nobody else, pass through the home to its data.

    The home becomes that user's: root passes anyway, and keeps what is in it.
    """
    found = home.stat()
    if found.st_uid != user.uid:
        os.chown(home, user.uid, user.gid)
        _log.info("%s belongs to the user of its PostgreSQL now", home)
    if stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
        home.chmod(stat.S_IRWXU)


def open_program(root: Path) -> None:
    """Make PostgreSQL's installed files readable for the server's user.

    Parameters
    ----------
    root : Path
        Folder of the installation. Nothing changes where an ordinary umask installed it.
    """
    open_way(root)
    for path in (root, *root.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | stat.S_IROTH
        if path.is_dir() or mode & stat.S_IXUSR:
            wanted |= stat.S_IXOTH
        if wanted != mode:
            path.chmod(wanted)
