"""SSH door: one host a machine.

    server.py, connection.py, session.py   the door: listeners, logins, channels
    sftp.py, scp.py, ssh_keys.py, sshd.py  files over SSH; host keys, ports, who may log in
    machine_os.py                          a machine's operating system, from power-on to power-off
      filesystem.py, image.py              its disk, and what the Ubuntu image has on it
      systemd.py, units.py, cloud_init.py  what starts things
    process.py, shell*.py, commands/       what understands a command line
    k3s.py, k3s_*.py                       the k3s service, command and installer
    internet.py, names.py, ports.py        what can be downloaded, resolved and connected to

Machines see each other through `world.network`; nothing here opens a socket but the door itself.
"""
