# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Write a disk image: a GPT, an EFI system partition with systemd-boot, and a root with the closure.

Everything is written into one sparse file, by the programs of ``tools``. Equal input makes an equal file with equal
versions of them: identifiers come from the digest of what is asked for, and all times are fixed.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .boot import Boot, esp_name
from .tools import FAT_TIME, STEP, STORE_TIME, Tools
from .tree import Staged

MIB = 1024 * 1024
SECTORS_PER_MIB = 2048
# The partition table at both ends.
EDGE_MIB = 1
# What FAT32 needs: 65525 clusters, here of one sector.
LEAST_ESP_MIB = 64
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
# The journal and the group descriptors, beside the files.
_OVERHEAD_MIB = 96
_INODE_BYTES = 256
_INODE_RATIO = 16384
# Of libext2fs; the root is 2, the first other one is 11.
_ROOT_INODE = 2
_FIRST_INODE = 11
# Instead of the machine's file, so that the file system does not depend on it; readable by every kernel of NixOS.
_MKE2FS_CONF = """\
[defaults]
    base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
    default_mntopts = acl,user_xattr
    enable_periodic_fsck = 0
    blocksize = 4096
    inode_size = 256
    inode_ratio = 16384
[fs_types]
    ext4 = {
        features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
    }
    floppy = {
    }
    small = {
    }
    big = {
    }
    huge = {
    }
"""
_FREE = re.compile(r"^  Free inodes: (?P<ranges>[0-9, -]*)$", re.M)


@dataclass(frozen=True)
class Layout:
    """Sizes in MiB. ``size`` is that of the disk, 0 for what the closure and ``free_space`` need."""

    esp_size: int
    free_space: int
    size: int
    root_label: str
    esp_label: str

    def check(self) -> None:
        """Raise ``NixferryError`` for values that make no disk."""
        if self.esp_size < LEAST_ESP_MIB:
            raise NixferryError(f"`esp_size` must be at least {LEAST_ESP_MIB} MiB", step=STEP)
        if self.free_space < 0 or self.size < 0:
            raise NixferryError("`free_space` and `size` must not be negative", step=STEP)
        for name, label, most in (("root_label", self.root_label, 16), ("esp_label", self.esp_label, 11)):
            if re.fullmatch(r"[A-Za-z0-9_-]+", label) is None or len(label) > most:
                raise NixferryError(
                    f"`{name}` must have 1 to {most} letters, digits, `_` or `-`, not {label!r}", step=STEP
                )

    def root_size(self, staged: Staged) -> int:
        """Return the MiB of the root. Raises ``NixferryError`` if ``size`` has no room for it."""
        files = staged.disk_size + staged.disk_size // 20 + staged.files * _INODE_BYTES * 2
        needed = -(-files // MIB) + _OVERHEAD_MIB
        if not self.size:
            return needed + self.free_space
        left = self.size - self.esp_size - 2 * EDGE_MIB
        if left < needed:
            raise NixferryError(
                f"`size` is {self.size} MiB, but the disk needs at least {needed + self.esp_size + 2 * EDGE_MIB} MiB",
                step=STEP,
                remedy="Raise `size`, or leave it out: then the closure and `free_space` say how large the disk is.",
            )
        return left


def identifier(digest: str, what: str) -> str:
    """Return a UUID for ``what`` in the image whose wishes have this digest."""
    return str(uuid.UUID(hashlib.sha256(f"{digest} {what}".encode()).hexdigest()[:32], version=4))


def write_disk(tools: Tools, staged: Staged, boot: Boot, layout: Layout, *, digest: str, disk: Path) -> int:
    """Write the image to ``disk``, a new file; return its size in bytes. Raises ``NixferryError``."""
    root_size = layout.root_size(staged)
    size = (2 * EDGE_MIB + layout.esp_size + root_size) * MIB
    with disk.open("xb") as file:
        file.truncate(size)
    _write_table(tools, boot, layout, root_size, digest, disk)
    _write_esp(tools, staged, boot, layout, digest, disk)
    _write_root(tools, staged, layout, root_size, digest, disk)
    return size


def _write_table(tools: Tools, boot: Boot, layout: Layout, root_size: int, digest: str, disk: Path) -> None:
    esp_start, root_start = EDGE_MIB, EDGE_MIB + layout.esp_size
    lines = [
        "label: gpt",
        f"label-id: {identifier(digest, 'disk')}",
        f"start={esp_start * SECTORS_PER_MIB}, size={layout.esp_size * SECTORS_PER_MIB}, type={ESP_TYPE}, "
        f"uuid={identifier(digest, 'esp')}, name={layout.esp_label}",
        f"start={root_start * SECTORS_PER_MIB}, size={root_size * SECTORS_PER_MIB}, type={boot.root_type}, "
        f"uuid={identifier(digest, 'root')}, name={layout.root_label}",
    ]
    tools.run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(disk)],
        doing="the partition table",
        input="".join(f"{line}\n" for line in lines).encode(),
    )


def esp_files(boot: Boot, tree: Path) -> dict[str, Path | bytes]:
    """Return the files of the EFI system partition by name: from the store, or with this content."""

    def stored(path: str) -> Path:
        return tree / path.lstrip("/")

    files: dict[str, Path | bytes] = {
        f"EFI/BOOT/BOOT{boot.processor.upper()}.EFI": stored(boot.loader),
        f"EFI/systemd/systemd-boot{boot.processor}.efi": stored(boot.loader),
        "loader/entries.srel": b"type1\n",
        "loader/loader.conf": f"timeout 5\ndefault {boot.entries[0].name}.conf\nconsole-mode keep\n".encode(),
    }
    for entry in boot.entries:
        files[f"loader/entries/{entry.name}.conf"] = entry.text().encode()
        files.update({f"EFI/nixos/{esp_name(path)}": stored(path) for path in entry.files})
    return dict(sorted(files.items()))


def _write_esp(tools: Tools, staged: Staged, boot: Boot, layout: Layout, digest: str, disk: Path) -> None:
    files = esp_files(boot, staged.tree)
    sizes = [len(each) if isinstance(each, bytes) else each.stat().st_size for each in files.values()]
    # The next generation must fit as well, or the first deploy would find the partition full.
    if 2 * sum(sizes) > layout.esp_size * MIB:
        raise NixferryError(
            f"the EFI system partition of {layout.esp_size} MiB has no room for two generations of "
            f"{-(-sum(sizes) // MIB)} MiB",
            step=STEP,
            remedy="Raise `esp_size`.",
        )
    doing = "the EFI system partition"
    image = f"{disk}@@{EDGE_MIB}M"
    environment = {"SOURCE_DATE_EPOCH": str(FAT_TIME)}
    sectors = layout.esp_size * SECTORS_PER_MIB
    # Clusters of 4 KiB are usual, and too few of them are not FAT32.
    cluster = 8 if sectors // 8 > 70000 else 1
    tools.run(
        [
            *("mformat", "-i", image, "-F", "-T", str(sectors), "-h", "255", "-s", "63"),
            *("-H", str(EDGE_MIB * SECTORS_PER_MIB), "-c", str(cluster)),
            *("-v", layout.esp_label, "-N", identifier(digest, "fat")[:8], "::"),
        ],
        doing=doing,
        environment=environment,
    )
    directories = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
    tools.run(
        ["mmd", "-i", image, *(f"::/{directory}" for directory in directories)],
        doing=doing,
        environment=environment,
    )
    made = disk.with_name("esp-file")
    for name, content in files.items():
        source = content
        if isinstance(source, bytes):
            made.write_bytes(source)
            source = made
        tools.run(
            ["mcopy", "-Q", "-i", image, str(source), f"::/{name}"], doing=doing, environment=environment
        )
    made.unlink(missing_ok=True)


def _write_root(
    tools: Tools, staged: Staged, layout: Layout, root_size: int, digest: str, disk: Path
) -> None:
    settings = disk.with_name("mke2fs.conf")
    settings.write_text(_MKE2FS_CONF)
    offset = (EDGE_MIB + layout.esp_size) * MIB
    inodes = max(root_size * MIB // _INODE_RATIO, staged.files * 2)
    extended = f"hash_seed={identifier(digest, 'hash')},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    tools.run(
        [
            *("mke2fs", "-q", "-F", "-t", "ext4", "-L", layout.root_label, "-U", identifier(digest, "ext4")),
            *("-N", str(inodes), "-E", f"{extended},root_owner=0:0,offset={offset}"),
            *("-d", str(staged.tree), str(disk), f"{root_size * 1024}k"),
        ],
        doing="the root file system",
        environment={"MKE2FS_CONFIG": str(settings)},
    )
    settings.unlink()
    settle_inodes(tools, f"{disk}?offset={offset}", disk.with_name("inodes"))


def settle_inodes(tools: Tools, file_system: str, commands: Path) -> None:
    """Give every file to root, with the time of the store: mke2fs takes both from the files that it copies."""
    listing = tools.run(["dumpe2fs", file_system], doing="the root file system").text
    with commands.open("w") as file:
        for inode in used_inodes(listing):
            file.writelines(f"sif <{inode}> {name} 0\n" for name in ("uid", "gid"))
            file.writelines(
                f"sif <{inode}> {name} @{STORE_TIME}\n" for name in ("atime", "ctime", "mtime", "crtime")
            )
    ended = tools.run(["debugfs", "-w", "-f", str(commands), file_system], doing="the owners of the files")
    commands.unlink()
    # debugfs ends with 0 whatever fails; beside its version it prints errors only.
    wrong = [line for line in ended.errors if line.strip() and not line.startswith("debugfs 1.")]
    if wrong:
        raise NixferryError("the owners of the files cannot be set", step=STEP, output=wrong)


def used_inodes(listing: str) -> Iterator[int]:
    """Yield the inodes of files, by what ``dumpe2fs`` prints. Raises ``NixferryError`` if it lists none as free."""
    count = re.search(r"^Inode count: +(\d+)$", listing, re.M)
    ranges = [
        part.strip().partition("-")
        for found in _FREE.finditer(listing)
        for part in found["ranges"].split(",")
        if part.strip()
    ]
    if count is None or not ranges:
        raise NixferryError("dumpe2fs has not listed the inodes", step=STEP, output=listing.splitlines())
    yield _ROOT_INODE
    position = _FIRST_INODE
    for first, _dash, last in sorted(ranges, key=lambda each: int(each[0])):
        yield from range(position, int(first))
        position = max(position, int(last or first) + 1)
    yield from range(position, int(count[1]) + 1)
