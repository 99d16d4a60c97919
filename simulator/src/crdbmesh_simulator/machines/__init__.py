"""Machines and their SSH door: one host a machine.

    server.py, connection.py, session.py   the door: listeners, logins, commands (asyncssh)
    sftp.py, sshd.py, faults.py            files over SSH; host keys, ports, who may log in; what goes wrong
    machine_os.py                          a machine's operating system, from power-on to power-off
      image.py, image.toml                 what the Ubuntu image has on the disk
      systemd.py, units.py, tasks.py, cloud_init.py  what starts things
    k3s.py, k3s_*.py                       the k3s service
    internet.py                            what can be downloaded, and resolved

A host is a `System` that processes run on: its shell is in `shell/`, its commands in `userland/`. Machines see each
other through `world.network`; nothing here opens a socket but the door itself.
"""
