#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_build
short_description: Evaluate and build the Nix systems of one host or of many
description:
  - Evaluates the systems of hosts, builds or fetches them, and returns a store path for each host.
  - With O(hosts) and C(run_once), one task serves a whole fleet. The hosts are evaluated by parallel processes within
    a memory budget, and everything is realised in one Nix call. A host that fails does not stop the others.
  - Any derivation can be built. A NixOS system is one. If an attribute is the evaluation of a system rather than a
    derivation, its toplevel is built.
  - Nix runs on the controller, as the user who runs ansible-playbook and with that user's environment (E(NIX_PATH),
    E(NIX_CONFIG), E(NIX_REMOTE) and so on). O(ignore:become) has no influence on it.
  - The build ends when C(ansible-playbook) ends or is killed.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Evaluates, and reports what would be built and fetched. The store gets the derivations, but nothing is built, no
        garbage collector root is set and no lock file is written.
      - Values that an evaluation must build first (import from derivation) are built in check mode too.
      - With O(build_in_check_mode=true) it builds as without check mode.
  diff_mode:
    support: none
    details:
      - M(nixferry.deploy.nix_copy) and M(nixferry.deploy.nix_switch) show the differences to the host.
  delegation:
    support: partial
    details:
      - Not together with O(build_on=target). With a build host in O(build_on), delegate the task to that host.
options:
  flake:
    description:
      - A flake reference, for example V(.), V(.#nixosConfigurations.web1), V(github:owner/repository) or
        V(git+ssh://git@example.org/fleet?ref=main#hosts.{host}).
      - V({host}) stands for the name of the host in the inventory. Dots in that name do not split the attribute path.
      - Without an attribute after C(#), it means the host's system in the output of O(kind), for instance
        C(nixosConfigurations).
      - An output of systems followed by one name, such as V(.#nixosConfigurations.web1), means that system.
      - Any other attribute is used unchanged, as in C(nix build). V(.#web1) is therefore a package.
      - A relative path is relative to the directory of the playbook. For a playbook inside a collection it is relative
        to the directory in which C(ansible-playbook) was started.
    type: str
  file:
    description:
      - A Nix file, or a directory with a C(default.nix), or an entry of the search path such as V(<nixpkgs/nixos>).
      - A relative path is relative to the same directory as in O(flake).
    type: str
  expr:
    description:
      - A Nix expression. Relative paths in it are relative to the same directory as in O(flake).
    type: str
  fleet:
    description:
      - A fleet file of NixOps, morph, nixus or colmena, a directory with such a file, or a flake. A list of files makes
        one NixOps network.
      - A flake may name its output, for example V(.#colmenaHive). The default is the first existing output of
        C(colmenaHive), C(colmena), C(deploy), C(nixopsConfigurations), C(nixosConfigurations), C(darwinConfigurations)
        and C(homeConfigurations).
      - The host has the same name there as in the inventory. P(nixferry.deploy.fleet#inventory) makes an inventory of
        the fleet.
      - A relative path is relative to the same directory as in O(flake).
    type: raw
  fleet_format:
    description:
      - The format of O(fleet). V(auto), the default, detects it.
      - With V(deploy-rs) the system of a node is the one that its profile C(system) activates. O(ssh_access) can be
        added to it only if the entry of C(nixosConfigurations) with the node's name is that system.
    type: str
    choices: [auto, nixops, morph, nixus, colmena, deploy-rs, nixos, darwin, home-manager]
  drv_path:
    description:
      - A derivation in the controller's store, to build without an evaluation.
    type: str
  store_path:
    description:
      - A store path that was built before. It is fetched from a substituter if the controller lacks it.
    type: str
  attr:
    description:
      - The attribute path into O(file) or O(expr), for example V(nodes.{host}). V({host}) is replaced as in O(flake).
      - Functions on the path are called with O(args) and O(argstrs).
      - If empty, the value itself is used.
    type: str
    default: ""
  kind:
    description:
      - The kind of the host's system. It selects the output of O(flake) if that names no attribute.
    type: str
    choices: [nixos, darwin, home-manager, system-manager, profile]
    default: nixos
  hosts:
    description:
      - The names of the hosts to build for, with results in RV(hosts). Use it with C(run_once).
      - An attribute that several hosts share is evaluated and built once.
      - The default is the hosts in O(sources). Without these it is the host of the task alone, with its results at the
        top level.
    type: list
    elements: str
  all_hosts:
    description:
      - Whether to build for every host of O(fleet), instead of O(hosts). Those that the file itself excludes from
        deploys are in RV(left_out).
      - A host that cannot be read fails, like one that cannot be evaluated.
    type: bool
    default: false
  sources:
    description:
      - The source of each host, if it differs from host to host. A dictionary of host names with dictionaries of
        O(flake), O(file), O(expr), O(fleet), O(fleet_format), O(drv_path), O(store_path), O(attr), O(args), O(argstrs),
        O(specialargs), O(override_inputs), O(impure), O(include) and O(ssh_access).
      - An entry with its own source replaces all of these options for its host; any other entry completes them.
      - A task with C(run_once) sees the variables of one host only. Let each host record its own source before, as the
        role P(nixferry.deploy.nixos#role) does.
    type: dict
  args:
    description:
      - Arguments for functions in O(file) and O(expr), and for O(fleet) if it is a function. Values keep their types,
        and a string is never read as Nix code.
      - Not for secrets. All inputs of Nix may end up in its store, which every user can read. A value that was
        encrypted with Ansible Vault is refused.
    type: dict
    default: {}
  argstrs:
    description:
      - Like O(args), with every value turned into a string.
    type: dict
    default: {}
  specialargs:
    description:
      - Further arguments for the modules of the system, like C(specialArgs) of C(nixosSystem). They replace existing
        arguments of the same name. A module uses them as C({ site, ... }).
      - The system is evaluated once more with them, by the C(extendModules) that C(lib.evalModules) adds to every
        evaluation. This works for flakes as well as O(file) and O(expr). A source without such an evaluation is
        refused.
      - Values keep their types. Not for secrets, see O(args). With O(flake) they are also visible in the process list
        of the controller, and Linux allows about 120 KiB for one host.
    type: dict
    default: {}
  override_inputs:
    description:
      - Inputs of O(flake), or of a flake in O(fleet), to replace, as names with flake references. The lock file is then
        left unchanged.
    type: dict
    default: {}
  impure:
    description:
      - Whether the evaluation of a flake may depend on the environment and on files outside of it.
    type: bool
    default: false
  include:
    description:
      - Entries of the search path for O(file), O(expr) and files in O(fleet), for example V(nixpkgs=/path/to/nixpkgs).
        They come before those of E(NIX_PATH).
    type: list
    elements: str
    default: []
  ssh_access:
    description:
      - SSH access between hosts, added to every host of O(fleet) that it concerns. A dictionary of hosts with
        dictionaries of C(hostKeys), C(hostNames) and C(keys), as in the option C(ssh.access) of nixus.
      - C(hostKeys) are public host keys by any name. C(hostNames) are further names and addresses of the host.
      - C(keys) are the keys of users on that host, by any name, as dictionaries of C(publicKey) and C(hasAccessTo).
        There V(web1.root=true) means that the holder may log in to V(web1) as V(root).
      - It becomes C(users.users.<user>.openssh.authorizedKeys.keys) on the destination, and C(programs.ssh.knownHosts)
        on the holder's host. For a person outside the fleet, add a host of any name.
      - Give the same value to all hosts of a fleet. It is added to the option C(nixferry.sshAccess) of the fleet
        itself, and contradictions are an error.
    type: dict
    default: {}
  options:
    description:
      - Settings of C(nix.conf) for this task, for example V(max-jobs) or V(builders). Lists become words separated by
        spaces.
      - Nix accepts some of them only from a user whom its daemon trusts.
    type: dict
    default: {}
  builders:
    description:
      - The remote builders to use instead of those in C(nix.conf) and C(/etc/nix/machines). An empty list forbids
        remote builds.
      - Each is an entry as in C(/etc/nix/machines), V(@/path/to/file) with such entries, or a dictionary with C(uri),
        C(systems), C(ssh_key_file), C(max_jobs) (1), C(speed_factor) (1), C(supported_features), C(mandatory_features)
        and C(host_public_key), which is V(TYPE KEY) as in a C(.pub) file.
      - With a Nix daemon, the daemon logs in there as root, with keys and ssh settings that root can read. It accepts
        builders only from users whom it trusts.
      - Use M(nixferry.deploy.nix_builder) to register a builder permanently.
      - Nix skips a builder that it cannot use. A warning then names it, the cause and the remedy.
    type: list
    elements: raw
  max_jobs:
    description:
      - The number of derivations to build on this machine at once. With V(0), all of them must be built on remote
        builders. Otherwise Nix builds here whatever it can if no builder answers.
    type: int
  output:
    description:
      - The output of the derivation that is the toplevel. All outputs are built.
    type: str
    default: out
  build_on:
    description:
      - Where to build, V(controller), V(target), or the name of a host of the inventory.
      - With V(target), the controller evaluates, the derivation is copied to the host over Ansible's connection, and
        the host builds or fetches it with its own Nix. Each host does this for itself, without O(hosts).
      - With a host name, that host builds for all of O(hosts). The controller evaluates and copies the derivations to
        the build host over Ansible's connection to it. The build host builds or fetches with its own Nix what the
        controller lacks. The results are then copied to the controller. Everything after that is the same as for a
        local build.
      - The controller takes nothing from a build host but the outputs of these derivations and of those that they need.
        It has to believe their contents. A path in O(store_path) needs a signature that the controller trusts.
      - Delegate the task to the named host, with the same name in C(delegate_to), so that Ansible logs in there. It
        needs no registration with Nix. Its Nix must trust its user, such as C(root).
      - To let Nix itself distribute builds among machines, see O(builders).
    type: str
    default: controller
  build_in_check_mode:
    description:
      - Whether to build in check mode too, so that later tasks can compare closures. Hosts stay unchanged, except for
        the store of a build host that O(build_on) names.
    type: bool
    default: false
  full_plan:
    description:
      - Whether RV(would_build) and RV(would_fetch) name every path in check mode, and not only the first ten.
    type: bool
    default: false
  note:
    description: Values to return as they are, so that a role needs no second task to keep them.
    type: dict
    default: {}
  sign_key:
    description:
      - A file on the controller with a secret key. The task signs the built closures of all hosts with it, in one call
        of Nix, like M(nixferry.deploy.nix_sign). See there for the requirements of the file.
      - Not together with O(build_on=target).
    type: path
  only_boot_loader:
    description:
      - Fails for a host whose configuration installs another boot loader, as far as its derivation says so, before
        anything is built for it. The role P(nixferry.deploy.image#role) needs it, since the disks that it makes have
        this boot loader.
    type: str
    choices: [systemd-boot]
  max_memory:
    description:
      - The memory that all evaluators together may use, in MiB, of which 1024 MiB are kept in reserve.
      - The evaluators are measured while they run, and the next one starts only if it fits beside them. What the hosts
        of a project took is remembered for the next run. Before anything was measured, the first host of an evaluator
        counts as 1024 MiB and each further one as 640 MiB.
      - One evaluator runs in any case, and needs what its host needs.
      - The default is the memory that is available when the task begins.
    type: int
  evaluators:
    description:
      - The maximum number of parallel evaluators, if memory allows. The default is the number of processors.
    type: int
  nix_eval_jobs:
    description:
      - Whether C(nix-eval-jobs) evaluates several hosts of a O(file), or of a O(fleet) that consists of files. It gives
        them one by one to its workers, within O(max_memory) and O(evaluators), and they get the same derivations.
      - With V(auto), it is used if it is on the E(PATH) and evaluates like the same version of Nix. A warning says when
        it is there but is not used.
      - With V(required), the task fails if it would be used and cannot be. With V(never), it is not used.
      - A host that it cannot evaluate is evaluated again without it. This keeps errors the same, and lets an evaluation
        that builds first find its remote builders. If it breaks off, all hosts are evaluated again without it, with a
        warning.
      - Flakes and O(expr) are evaluated without it.
    type: str
    choices: [auto, required, never]
    default: auto
  timeout:
    description:
      - The timeout for the whole task in seconds. V(0) means no limit.
    type: int
    default: 14400
  progress:
    description:
      - How to show progress. V(auto) is a refreshing line on a terminal and occasional lines elsewhere. V(lines) never
        refreshes a line. V(none) is silent.
      - With C(-v), the output of builds is shown as well. With C(no_log), nothing is shown.
    type: str
    choices: [auto, lines, none]
    default: auto
notes:
  - A link for each host in C(${XDG_STATE_HOME:-~/.local/state}/nixferry/gcroots) on the controller protects the build
    from the garbage collector, until the next build for the same host. Remove a link to let go of the build.
  - Identical tasks of one user wait for each other. With C(run_once) and C(strategy=free), where every host runs the
    task, they evaluate and build one after the other.
seealso:
  - module: nixferry.deploy.nix_copy
  - module: nixferry.deploy.nix_switch
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Build the systems of all hosts of the play, from the flake beside the playbook
  nixferry.deploy.nix_build:
    flake: .
    hosts: "{{ ansible_play_hosts }}"
  run_once: true
  register: build

- name: Copy each host's system to it
  nixferry.deploy.nix_copy:
    path: "{{ build.hosts[inventory_hostname].toplevel }}"
  when: not build.hosts[inventory_hostname].failed

- name: Build this host's system from a file, with values from the inventory
  nixferry.deploy.nix_build:
    file: network.nix
    attr: "{host}"
    args:
      ports: "{{ web_ports }}"
      production: true
    include:
      - nixpkgs=/srv/nixpkgs

- name: Build the hosts of a NixOps network
  nixferry.deploy.nix_build:
    fleet: network.nix
    hosts: "{{ ansible_play_hosts }}"
  run_once: true

- name: Build a package and let the host do it
  nixferry.deploy.nix_build:
    flake: .#packages.aarch64-linux.service
    build_on: target

- name: Build all hosts on the fastest of them, which Ansible reaches already
  nixferry.deploy.nix_build:
    flake: .
    hosts: "{{ ansible_play_hosts }}"
    build_on: big
  delegate_to: big
  run_once: true

- name: Try a local checkout of an input, with four builds at once
  nixferry.deploy.nix_build:
    flake: .#nixosConfigurations.web1
    override_inputs:
      nixpkgs: path:/home/alice/nixpkgs
    options:
      max-jobs: 4

- name: Build all of it on a builder, and nothing here
  nixferry.deploy.nix_build:
    flake: .#nixosConfigurations.web1
    builders:
      - uri: ssh-ng://builder@192.0.2.20
        systems: [aarch64-linux]
        ssh_key_file: /etc/nix/big_ed25519
        host_public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi
        max_jobs: 4
    max_jobs: 0

- name: Use what the build server has built
  nixferry.deploy.nix_build:
    store_path: "{{ lookup('ansible.builtin.file', 'result.txt') }}"
"""

RETURN = r"""
drv_path:
  description: The derivation; null for O(store_path) and if the evaluation failed.
  returned: without O(hosts)
  type: str
  sample: /nix/store/9v9w3f2as4d99978zzhpfhbpf80bz67c-nixos-system-web1.drv
outputs:
  description: The store paths of the derivation's outputs, by name.
  returned: without O(hosts)
  type: dict
  sample: {"out": "/nix/store/v3b16p0hb51h7zrgzad4zkdwlvvxrgv5-nixos-system-web1"}
toplevel:
  description:
    - The store path of O(output), to copy and switch to; null if the host failed.
    - In check mode also null for a content-addressed derivation that has not been built, and for one that needs such a
      derivation. C(msg) then says that it is known after the build. It needs the experimental feature
      C(ca-derivations), in C(nix.conf) or in O(options), and cannot be built on a build host.
  returned: without O(hosts)
  type: str
  sample: /nix/store/v3b16p0hb51h7zrgzad4zkdwlvvxrgv5-nixos-system-web1
revision:
  description:
    - The commit of the git checkout around the flake or the file, with C(-dirty) appended if tracked files were
      modified. For a remote flake it is the commit that the reference itself names.
    - Empty without git, outside of a checkout, and for other sources.
  returned: without O(hosts)
  type: str
  sample: 1f0a8c34b1c05d9b4b5a5f0f2b8a4a7b6c3d2e1f
repository:
  description: That checkout on the controller.
  returned: without O(hosts)
  type: str
fleet:
  description:
    - What O(fleet) says about the host; null for other sources, if the evaluation failed, and if C(nix-eval-jobs) has
      evaluated the host. It shows where a surprising value comes from.
  returned: without O(hosts)
  type: dict
  contains:
    tool:
      description: The format in which the file was read, see O(fleet_format).
      type: str
    address:
      description: The address of the host; null if it is the host's name.
      type: str
    user:
      description: The login user; null if the file names none.
      type: str
    port:
      description: The port; null if the file names none.
      type: int
    tags:
      description: The tags.
      type: list
      elements: str
    place:
      description:
        - The file and line in which the host begins; null if Nix does not know it.
        - A file of a flake is relative to the root of the flake's source.
      type: str
  sample:
    tool: colmena
    address: 192.0.2.1
    user: root
    port: null
    tags: [web]
    place: /srv/fleet/hive.nix:12
built:
  description: Whether something had to be built or fetched. Always V(false) in check mode.
  returned: without O(hosts)
  type: bool
would_build:
  description:
    - The first ten derivations that would be built, beginning with the host's own; all of them with
      O(full_plan=true).
    - With O(build_on=target) or a build host, it is the host's own derivation if that host lacks its outputs.
  returned: in check mode, without O(hosts)
  type: list
  elements: str
would_build_count:
  description: The number of derivations that would be built.
  returned: in check mode, without O(hosts)
  type: int
  sample: 214
would_fetch:
  description:
    - The first ten store paths that would be fetched from substituters; all of them with O(full_plan=true).
  returned: in check mode, without O(hosts)
  type: list
  elements: str
would_fetch_count:
  description: The number of store paths that would be fetched.
  returned: in check mode, without O(hosts)
  type: int
  sample: 1871
download_size:
  description: Bytes that would be downloaded, as rounded by Nix.
  returned: in check mode, without O(hosts)
  type: int
unpacked_size:
  description: Bytes that RV(would_fetch) would take in the store.
  returned: in check mode, without O(hosts)
  type: int
hosts:
  description:
    - For each host a dictionary of the values above, with C(failed), and with C(msg) if it failed.
    - Under the free strategy Ansible runs the task for every host and registers each result for all of them. It then
      also contains what the same task has built for other hosts of the batch.
  returned: with O(hosts), unless all hosts of the batch failed for the same reason
  type: dict
  sample:
    web1:
      failed: false
      drv_path: /nix/store/9v9w3f2as4d99978zzhpfhbpf80bz67c-nixos-system-web1.drv
      outputs: {"out": "/nix/store/v3b16p0hb51h7zrgzad4zkdwlvvxrgv5-nixos-system-web1"}
      toplevel: /nix/store/v3b16p0hb51h7zrgzad4zkdwlvvxrgv5-nixos-system-web1
      built: true
      revision: 1f0a8c34b1c05d9b4b5a5f0f2b8a4a7b6c3d2e1f
      repository: /home/ann/fleet
left_out:
  description: The hosts that the fleet file excludes from deploys, with the reason.
  returned: with O(all_hosts)
  type: dict
  sample: {"laptop": "deployment.targetHost is null"}
evaluation_warnings:
  description:
    - What Nix code warned of during the evaluation, each text once. That is C(lib.warn), the option C(warnings) of
      NixOS, and every other trace that begins with V(warning:) or V(evaluation warning:).
    - The task shows them as warnings too. The hosts of a task are evaluated together, so Nix does not tell which of
      them a warning is about, unless its text does.
  returned: always, unless nothing could be evaluated for any host
  type: list
  elements: str
  sample: ["The option `services.web.port' has been renamed to `services.web.listenPort'."]
failed_hosts:
  description:
    - The names of the hosts that failed. The task itself fails only if these are all hosts of the batch, and for the
      same reason, which it then gives once. Otherwise the others go on, and the next task that needs the build
      (of M(nixferry.deploy.nix_copy) or M(nixferry.deploy.nix_switch)) fails for the hosts without one and says why.
  returned: with O(hosts)
  type: list
  elements: str
noted:
  description: The values of O(note).
  returned: with O(note)
  type: dict
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: build
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
