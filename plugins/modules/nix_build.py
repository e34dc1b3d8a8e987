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
  - Evaluates what hosts are to run, builds or fetches it, and returns a store path for each host.
  - With O(hosts) and C(run_once), one task serves a whole fleet. The hosts are evaluated by parallel processes within
    a memory budget, and everything is realised in one Nix call. A host that fails does not stop the others.
  - What is built can be any derivation. A NixOS system is one, and where an attribute is the evaluation of a system
    rather than a derivation, its toplevel is built.
  - Nix runs on the controller, as the user who runs Ansible and with that user's environment (E(NIX_PATH),
    E(NIX_CONFIG), E(NIX_REMOTE) and so on). O(ignore:become) has no influence on it.
  - When C(ansible-playbook) ends, in whatever way, the build ends with it.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Evaluates, and says what would be built and fetched. The store gets the derivations, but nothing is built, no
        garbage collector root is set and no lock file is written.
      - Values that an evaluation has to build first (import from derivation) are built in check mode too.
      - With O(build_in_check_mode=true) it builds as it would without check mode.
  diff_mode:
    support: none
    details:
      - M(nixferry.deploy.nix_copy) and M(nixferry.deploy.nix_switch) show what differs on the host.
  delegation:
    support: partial
    details:
      - Not together with O(build_on=target). A build host that O(build_on) names is what the task is delegated to.
options:
  flake:
    description:
      - A flake reference, as V(.), V(.#nixosConfigurations.web1), V(github:owner/repository) or
        V(git+ssh://git@example.org/fleet?ref=main#hosts.{host}).
      - V({host}) stands for the name of the host in the inventory. Dots in that name do not split the attribute path.
      - Without an attribute after C(#), it means the host's system in the output that O(kind) has,
        C(nixosConfigurations) for instance.
      - An output of systems with one name after it, such as V(.#nixosConfigurations.web1), means that system.
      - Any other attribute is taken as it is, and as C(nix build) takes it. V(.#web1) is therefore a package.
      - A relative path counts from the directory of the playbook. For a playbook inside a collection it counts from
        the directory in which C(ansible-playbook) was started.
    type: str
  file:
    description:
      - A Nix file, or a directory with C(default.nix) in it, or an entry of the search path such as V(<nixpkgs/nixos>).
      - A relative path counts from the same directory as in O(flake).
    type: str
  expr:
    description:
      - A Nix expression. Relative paths in it count from the same directory as in O(flake).
    type: str
  fleet:
    description:
      - A fleet file of NixOps, morph, nixus or colmena, a directory with such a file in it, or a flake. A list of
        files makes one NixOps network.
      - A flake may name the output that is meant, as V(.#colmenaHive). Otherwise it is the first that it has of
        C(colmenaHive), C(colmena), C(deploy), C(nixopsConfigurations), C(nixosConfigurations), C(darwinConfigurations)
        and C(homeConfigurations).
      - The host has the same name there as in the inventory. P(nixferry.deploy.fleet#inventory) makes an inventory of
        the fleet.
      - A relative path counts from the same directory as in O(flake).
    type: raw
  fleet_format:
    description:
      - The tool that O(fleet) was written for. V(auto), which is the default, finds out.
      - With V(deploy-rs) the system of a node is the one that its profile C(system) activates. O(ssh_access) can be
        added to it where the entry of C(nixosConfigurations) that is called as the node is that system.
    type: str
    choices: [auto, nixops, morph, nixus, colmena, deploy-rs, nixos, darwin, home-manager]
  drv_path:
    description:
      - A derivation in the store of the controller, which is built without an evaluation.
    type: str
  store_path:
    description:
      - A store path that was built before. It is fetched from a substituter when the controller lacks it.
    type: str
  attr:
    description:
      - The attribute path into O(file) or O(expr), as V(nodes.{host}). V({host}) is replaced as in O(flake).
      - Functions on the way are called with O(args) and O(argstrs).
      - When empty, it is the value itself.
    type: str
    default: ""
  kind:
    description:
      - What kind of system the host has. It decides which output O(flake) means when it names no attribute.
    type: str
    choices: [nixos, darwin, home-manager, system-manager, profile]
    default: nixos
  hosts:
    description:
      - The names of the hosts to build for, with results in RV(hosts). To be used with C(run_once).
      - An attribute that several hosts share is evaluated and built once.
      - When not set, it is the hosts in O(sources), or else the host of the task alone, with its results at the top.
    type: list
    elements: str
  sources:
    description:
      - What each host is built from, where that differs from host to host. A dictionary of host names with dictionaries
        of O(flake), O(file), O(expr), O(fleet), O(fleet_format), O(drv_path), O(store_path), O(attr), O(args),
        O(argstrs), O(specialargs), O(override_inputs), O(impure), O(include) and O(ssh_access).
      - An entry with a source of its own replaces all of these options for its host; any other entry completes them.
      - A task with C(run_once) sees the variables of one host only. Let each host note its own source before, as role
        P(nixferry.deploy.nixos#role) does.
    type: dict
  args:
    description:
      - Arguments for functions in O(file) and O(expr), and for O(fleet) where that is a function. Values keep their
        types, and a string is never read as Nix code.
      - Not for secrets. Whatever Nix is told may end in its store, which every user can read. A value that was
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
      - Further arguments for the modules of the system, next to those that it has, as C(specialArgs) of C(nixosSystem)
        gives them. One of the same name is replaced. A module uses them as C({ site, ... }).
      - The system is evaluated once more with them, by the C(extendModules) that C(lib.evalModules) gives every
        evaluation. It serves flakes as well as O(file) and O(expr), and what has no evaluation is refused.
      - Values keep their types. Not for secrets, as O(args). With O(flake) they are also visible in the process list of
        the controller, and Linux allows about 120 KiB for one host.
    type: dict
    default: {}
  override_inputs:
    description:
      - Inputs of O(flake), or of a flake in O(fleet), to replace, as names with flake references. The lock file is
        left as it is then.
    type: dict
    default: {}
  impure:
    description:
      - Whether the evaluation of a flake may depend on the environment and on files outside of it.
    type: bool
    default: false
  include:
    description:
      - Entries of the search path for O(file), O(expr) and files in O(fleet), as V(nixpkgs=/path/to/nixpkgs). They
        come before those of E(NIX_PATH).
    type: list
    elements: str
    default: []
  ssh_access:
    description:
      - Which keys may log in where, as an addition to every host of O(fleet) that it is about. A dictionary of hosts
        with dictionaries of C(hostKeys), C(hostNames) and C(keys), as in the option C(ssh.access) of nixus.
      - C(hostKeys) are public host keys by any name. C(hostNames) are further names and addresses of the host.
      - C(keys) are the keys of users on that host, by any name, as dictionaries of C(publicKey) and C(hasAccessTo), in
        which V(web1.root=true) means that the holder may log in to V(web1) as V(root).
      - It becomes C(users.users.<user>.openssh.authorizedKeys.keys) where one logs in, and C(programs.ssh.knownHosts)
        where one comes from. Somebody who comes from elsewhere is a host of any name.
      - Give the same to all hosts of a fleet. It is added to what the fleet itself says in the option
        C(nixferry.sshAccess), and contradictions are an error.
    type: dict
    default: {}
  options:
    description:
      - Settings of C(nix.conf) for this task, as V(max-jobs) or V(builders). Lists become words with spaces between.
      - Some are only taken from a user whom the Nix daemon trusts.
    type: dict
    default: {}
  builders:
    description:
      - The remote builders to use, in place of those that C(nix.conf) and C(/etc/nix/machines) name. An empty list
        forbids remote builds.
      - Each is an entry as C(/etc/nix/machines) has it, V(@/path/to/file) with such entries, or a dictionary with
        C(uri), C(systems), C(ssh_key_file), C(max_jobs) (1), C(speed_factor) (1), C(supported_features),
        C(mandatory_features) and C(host_public_key), which is V(TYPE KEY) as in a C(.pub) file.
      - With a Nix daemon, it is the daemon, as root, that logs in there, with keys and settings for ssh that root can
        read; and it takes builders only from users whom it trusts.
      - What is to be a builder for good, M(nixferry.deploy.nix_builder) registers.
      - A builder that cannot be used is passed over by Nix. A warning then names it, the cause and what to do.
    type: list
    elements: raw
  max_jobs:
    description:
      - How many derivations may be built on this machine at once. With V(0), all of them have to be built on remote
        builders. Otherwise Nix builds here whatever it can when no builder answers.
    type: int
  output:
    description:
      - Which output of the derivation is the toplevel. All outputs are built.
    type: str
    default: out
  build_on:
    description:
      - Where to build, V(controller), V(target), or the name of a host of the inventory.
      - With V(target), the controller evaluates, the derivation is copied to the host over Ansible's connection, and
        the host builds or fetches it with its own Nix. Each host does this for itself, without O(hosts).
      - A host that is named builds for all of O(hosts). The controller evaluates, the derivations are copied to the
        build host over Ansible's connection to it, and it builds or fetches with its own Nix what the controller lacks.
        What was built is then copied to the controller. From there on all is as if it had been built there.
      - The task has to be delegated to the host that is named, with the same name in C(delegate_to), so that Ansible
        logs in there. It needs no registration with Nix, and its user has to be one whom its Nix trusts, such as
        C(root).
      - Where Nix itself shares builds out among machines, see O(builders).
    type: str
    default: controller
  build_in_check_mode:
    description:
      - Whether to build in check mode too, so that what follows can compare closures. Hosts stay untouched, but for the
        store of a host that O(build_on) names.
    type: bool
    default: false
  sign_key:
    description:
      - A file on the controller with a secret key. The closures of what is built are signed with it, those of all hosts
        in one call of Nix, as M(nixferry.deploy.nix_sign) does. There the requirements of the file are told as well.
      - Not together with O(build_on=target).
    type: path
  max_memory:
    description:
      - How much memory all evaluators together may take, in MiB. A host is reckoned with 512 MiB, and 1024 MiB are kept
        in reserve.
      - The default is what is available when the task begins.
    type: int
  evaluators:
    description:
      - How many evaluators may run at once, if memory allows. The default is the number of processors.
    type: int
  nix_eval_jobs:
    description:
      - Whether C(nix-eval-jobs) evaluates several hosts of a O(file), or of a O(fleet) that is made of files. It hands
        them one by one to its workers, within O(max_memory) and O(evaluators), and they get the same derivations.
      - With V(auto), it is used when it is on the E(PATH) and evaluates as the same version of Nix does. A warning
        tells when it is there but is not used.
      - With V(required), the task fails when it would be used and cannot be. With V(never), it is not used.
      - A host that it cannot evaluate is evaluated once more without it, so that errors are the same, and what an
        evaluation has to build first finds its remote builders. So is everything when it breaks off, with a warning.
      - Flakes and O(expr) are evaluated without it.
    type: str
    choices: [auto, required, never]
    default: auto
  timeout:
    description:
      - Seconds that everything together may take. V(0) means no limit.
    type: int
    default: 14400
  progress:
    description:
      - How to show progress. V(auto) is a line that refreshes where there is a terminal and a line now and then
        elsewhere. V(lines) is never a refreshing line. V(none) is silent.
      - With C(-v), the lines that builds print are shown as well. With C(no_log), nothing is shown.
    type: str
    choices: [auto, lines, none]
    default: auto
notes:
  - What was built is protected from the garbage collector by a link for each host below
    C(${XDG_STATE_HOME:-~/.local/state}/nixferry/gcroots) on the controller, until the next build for the same host.
    Remove a link to let go of the build.
  - Identical tasks of one user wait for each other, so C(run_once) with C(strategy=free), where every host runs the
    task, evaluates and builds once at a time.
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
  description: The derivation; null for O(store_path) and when the evaluation failed.
  returned: without O(hosts)
  type: str
  sample: /nix/store/9v9w3f2as4d99978zzhpfhbpf80bz67c-nixos-system-web1.drv
outputs:
  description: The store paths of the derivation's outputs, by name.
  returned: without O(hosts)
  type: dict
  sample: {"out": "/nix/store/v3b16p0hb51h7zrgzad4zkdwlvvxrgv5-nixos-system-web1"}
toplevel:
  description: The store path of O(output), which is what to copy and switch to; null when the host failed.
  returned: without O(hosts)
  type: str
  sample: /nix/store/v3b16p0hb51h7zrgzad4zkdwlvvxrgv5-nixos-system-web1
revision:
  description:
    - The commit that the git checkout around the flake or the file is at, with C(-dirty) at its end when files that git
      tracks were modified. For a remote flake it is the commit that the reference itself names.
    - Empty without git, outside of a checkout, and for other sources.
  returned: without O(hosts)
  type: str
  sample: 1f0a8c34b1c05d9b4b5a5f0f2b8a4a7b6c3d2e1f
repository:
  description: That checkout on the controller.
  returned: without O(hosts)
  type: str
built:
  description: Whether something had to be built or fetched. Always V(false) in check mode.
  returned: without O(hosts)
  type: bool
would_build:
  description:
    - The derivations that would be built.
    - With O(build_on=target) or a build host, it is the host's own derivation when that host lacks what it builds.
  returned: in check mode, without O(hosts)
  type: list
  elements: str
would_fetch:
  description: The store paths that would be fetched from substituters.
  returned: in check mode, without O(hosts)
  type: list
  elements: str
download_size:
  description: Bytes that would be downloaded, as exactly as Nix rounds them.
  returned: in check mode, without O(hosts)
  type: int
unpacked_size:
  description: Bytes that RV(would_fetch) would take in the store.
  returned: in check mode, without O(hosts)
  type: int
hosts:
  description:
    - For each host a dictionary of the values above, with C(failed), and with C(msg) when it failed.
    - Under the free strategy, where Ansible runs the task for every host and registers each result for all of them,
      also what the same task has built for other hosts of the batch.
  returned: with O(hosts)
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
failed_hosts:
  description:
    - The names of the hosts that failed. The task itself does not fail for them.
  returned: with O(hosts)
  type: list
  elements: str
where:
  description: The machine on which it failed, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: What was being done when it failed.
  returned: failure
  type: str
  sample: build
cause:
  description: What is wrong. The message begins with the host and the step, and ends with the remedy.
  returned: failure
  type: str
remedy:
  description: What to do about it, as far as that is known.
  returned: failure
  type: str
output:
  description: The end of what the programs printed.
  returned: failure
  type: list
  elements: str
"""
