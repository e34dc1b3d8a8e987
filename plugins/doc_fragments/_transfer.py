# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of the options that say how store paths travel to a host."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the actions that copy store paths."""

    DOCUMENTATION = r"""
options:
  from:
    description:
      - The address of the Nix store to copy from, if it is not the controller's.
      - The host itself reads a binary cache (V(https://...), V(s3://...), V(file:///...)), so it needs access to it.
      - The controller reads another machine (V(ssh://user@machine), V(ssh-ng://...)), with the ssh settings of the user
        who runs ansible-playbook. The paths pass through the controller. If they are then streamed, they are stored
        there as well.
    type: str
  substitute_on_destination:
    description:
      - Whether the host may fetch paths from its own substituters. Only the rest is sent.
      - Substituters that do not answer are skipped after a few seconds.
      - Without effect with O(from) a binary cache, and on the controller itself.
    type: bool
    default: true
  compress:
    description:
      - Whether to compress the transfer. Useful on slow links only.
      - Without it, C(ssh) follows its settings, and a streamed copy is not compressed. The default C(ssh_args) of
        Ansible contain C(-C), which compresses. That is slower than a local network. Therefore a copy of 16 MiB or more
        first measures the link. If that is fast, the copy opens another C(ssh) connection, without compression.
      - With V(true) or V(false), a C(ssh) connection that does otherwise is not used. The copy opens another one.
      - Another connection takes another login. If the login needs a password, the copy uses the connection that is
        open.
    type: bool
  check_sigs:
    description:
      - Whether the host accepts only paths that are signed by one of its C(trusted-public-keys).
      - With V(false), paths are accepted unchecked. The host's Nix grants this to C(root) and its C(trusted-users)
        only. Other users can copy signed paths only, whatever is set here.
      - An export of Nix carries no signatures, so with V(true) streamed paths travel as a small binary cache. An
        untrusted user needs that for every connection but C(ssh).
    type: bool
    default: false
  retries:
    description:
      - The number of further attempts after a broken connection. The pauses between them grow from one second to half a
        minute.
      - Errors that another attempt cannot fix fail at once, such as a full disk, a missing signature or permission, a
        path that does not exist, or a login that the host refuses. So does a host that cannot be reached at the
        beginning.
    type: int
    default: 3
  timeout:
    description:
      - The timeout for the whole copy in seconds. V(0) means no limit.
      - While paths are streamed, it is checked after every piece.
    type: int
    default: 7200
  list_paths:
    description:
      - Whether RV(nixferry.deploy.nix_copy#module:missing) and the lists beside it contain every path. That may be
        thousands.
      - With V(false) each of them contains the first 20, unless Ansible runs with C(-vvv). The numbers beside them
        are those of all paths.
    type: bool
    default: false
"""
