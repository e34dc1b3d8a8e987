#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_image
short_description: Make disk images of NixOS systems on the controller
description:
  - Makes a bootable disk image of the system that a deploy would bring to the host, as any user, without a virtual
    machine, a mount or a device.
  - The disk has a GPT, an EFI system partition with systemd-boot, and a root of ext4 with the closure, Nix's database
    and the system profile. It contains no secret, and nothing that must differ between hosts. There is no key of
    sshd, no random seed, and the machine-id is empty.
  - Beside the image lie its checksum and a manifest in JSON. C(NAME.json) is a link to the manifest of the current
    image.
  - Runs on the controller only. No host is contacted.
extends_documentation_fragment:
  - nixferry.deploy._fleet_secrets
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - The name of an image that would be made is not known, since it depends on the content.
  diff_mode:
    support: full
    details:
      - Shows what the images are made from, and their checksums.
  platform:
    platforms: Linux
options:
  build:
    description:
      - The result of M(nixferry.deploy.nix_build), for one host or for many.
      - Either this or O(toplevel) is required.
    type: dict
  toplevel:
    description: The toplevel of a NixOS system in the controller's store.
    type: str
  name:
    description: The name of the image. The default is the host's name in the inventory.
    type: str
  variant:
    description:
      - V(disk) makes a disk image of the system.
      - With any other name, O(build) or O(toplevel) is not a system, but what a variant of nixpkgs
        (C(config.system.build.images.VARIANT), from NixOS 25.05 on) or a format of nixos-generators has built. Its one
        image is taken as it is, and checksum, manifest and signature are made for it. Options of the disk have no
        effect.
    type: str
    default: disk
  directory:
    description:
      - The directory of the images on the controller. A relative path is relative to the playbook.
      - It needs room for twice the closure while an image is made.
    type: path
    required: true
  format:
    description:
      - The format of the image. V(qcow2) is compressed, and needs qemu-img.
      - The file of V(raw) is sparse. A copy that does not preserve holes is as large as the disk.
    type: str
    choices: [raw, qcow2]
    default: raw
  esp_size:
    description: The size of the EFI system partition in MiB, at least V(64). Two generations must fit.
    type: int
    default: 512
  free_space:
    description: The free space of the root in MiB. Unused with O(size).
    type: int
    default: 512
  size:
    description: The size of the disk in MiB. V(0) for what the closure and O(free_space) need.
    type: int
    default: 0
  root_label:
    description:
      - The label of the root, of the file system and of the partition. The host's configuration mounts it as V(/).
    type: str
    default: nixos
  esp_label:
    description: The label of the EFI system partition. The host's configuration mounts it as V(/boot).
    type: str
    default: ESP
  boot_loader:
    description:
      - With V(auto) a system is refused whose deploys would install another boot loader than systemd-boot. Beside that
        one the image's would go on booting.
      - A disk with GRUB, or for BIOS, is only made by a variant of nixpkgs (O(variant)).
      - V(systemd-boot) skips this check.
    type: str
    choices: [auto, systemd-boot]
    default: auto
  sign_key:
    description:
      - The file with the secret key of OpenSSH that signs the manifest, without a passphrase. Or the file of a public
        key, if an ssh-agent holds the secret one.
      - The manifest has the checksum of the image. The namespace of the signature is C(nixferry-image@v1).
    type: path
  secrets:
    description:
      - The secrets that are declared for the host, as in O(nixferry.deploy.nix_secrets#module:secrets). None of them is
        put into the image. The task fails if the system has the content of one of them, before there is an image.
      - A content is found as it is, anywhere in a file of the closure. One of fewer than 8 bytes is found only where it
        is all of a file. What is compressed or encoded is not found.
      - Contents are read only when an image is made.
    type: dict
  store:
    description:
      - Whether to add the image to the controller's store, as a directory with C(disk.FORMAT) and C(manifest.json).
        M(nixferry.deploy.nix_copy) then copies it as any closure.
    type: bool
    default: false
  to:
    description:
      - Where to send the image and the files beside it. An absolute path of a directory, C(file://), or an address
        below which a server takes files by HTTP PUT.
      - C(NAME.json) is sent last. Until then readers get the image before.
    type: list
    elements: str
    default: []
  netrc_file:
    description: A netrc file with the logins for O(to). Only its owner should be able to read it.
    type: path
  timeout:
    description: The timeout for the copy of the closure, in seconds.
    type: int
    default: 7200
  progress:
    description:
      - How progress is shown. V(auto) refreshes one line on a terminal and prints a plain line now and then elsewhere;
        V(lines) never refreshes; V(none) shows nothing.
    type: str
    choices: [auto, lines, none]
    default: auto
requirements:
  - e2fsprogs, mtools and util-linux on the controller. Debian has sfdisk in the package fdisk.
  - qemu-img for O(format=qcow2).
notes:
  - Equal systems and options make equal images, byte by byte, with equal versions of these programs on one machine.
seealso:
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_key
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Make an image of what was built
  nixferry.deploy.nix_image:
    build: "{{ build }}"
    directory: images
    format: qcow2
    sign_key: ~/.config/nixferry/images
  register: image

- name: Put it where a hypervisor finds it
  ansible.builtin.copy:
    src: "{{ image.image }}"
    dest: /var/lib/libvirt/images/
    mode: "0644"
  delegate_to: hypervisor
"""

RETURN = r"""
image:
  description: The file of the image; V(none) in check mode if it would be made.
  returned: success
  type: str
  sample: /srv/deploy/images/web1-2f1c0a7be2d93c41.qcow2
manifest:
  description: The file of its manifest. The signature of the manifest is in the same name with C(.sig).
  returned: success
  type: str
sha256:
  description: The SHA-256 of the file.
  returned: success
  type: str
size:
  description: The bytes of the file.
  returned: success
  type: int
virtual_size:
  description: The bytes of the disk; V(none) of another O(variant).
  returned: success
  type: int
toplevel:
  description: The toplevel in the image; V(none) of another O(variant).
  returned: success
  type: str
system:
  description: The platform of the system; V(none) of another O(variant).
  returned: success
  type: str
  sample: x86_64-linux
closure_paths:
  description: The number of store paths in the image.
  returned: success
  type: int
closure_size:
  description: The bytes of the closure, as NARs.
  returned: success
  type: int
previous_image:
  description: The file of the image before the task; V(none) without one.
  returned: success
  type: str
previous_toplevel:
  description: The toplevel in the image before the task; V(none) without one.
  returned: success
  type: str
store_path:
  description: With O(store), the store path of the image; V(none) in check mode.
  returned: success
  type: str
sent:
  description: The addresses in O(to) to which the image was sent, or would be in check mode.
  returned: success
  type: list
  elements: str
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: make the image
cause:
  description: The cause of the failure. The message begins with the host and the step, and ends with the remedy.
  returned: failure
  type: str
remedy:
  description: How to fix it, if known.
  returned: failure
  type: str
output:
  description: The end of the programs' output.
  returned: failure
  type: list
  elements: str
"""
