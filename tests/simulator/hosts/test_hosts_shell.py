"""The shell of a machine: what bash and dash print and end with. Each expectation was taken from the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.simulator.hosts.conftest import Town

BASH = [
    ("quoting", "x='a   b'; echo $x; echo \"$x\" '$x' \"\\$x\" a\\ b", "a b\na   b $x $x a b\n", 0),
    ("substitution", 'echo "nested $(echo "inner $(echo deep) \\"q\\"")"; echo `echo \\`echo bt\\``', 'nested inner deep "q"\nbt\n', 0),
    ("defaults", 'echo ${U:-def} "${U:-a b}" "${X:=set}" $X ${X:+alt} ${#X}', "def a b set set alt 3\n", 0),
    ("trimming", "a=foo.tar.gz; echo ${a%.gz} ${a%%.*} ${a#*.} ${a##*.} ${a/o/0} ${a//o/0} ${a:1:3} ${a^^}",
     "foo.tar foo tar.gz gz f0o.tar.gz f00.tar.gz oo. FOO.TAR.GZ\n", 0),
    ("arithmetic", "i=5; echo $((7/2)) $((-7/2)) $((2**3)) $((i++)) $i $((1<2 && 0)); ((3>2)) && echo yes", "3 -3 8 5 6 0\nyes\n", 0),
    ("loops", "for i in 1 2 3; do [ $i = 2 ] && continue; echo -n $i; done; i=0; while [ $i -lt 2 ]; do i=$((i+1)); done; echo :$i", "13:2\n", 0),
    ("counted loop", "for ((i=0;i<3;i++)); do printf %s $i; done; until true; do :; done; echo", "012\n", 0),
    ("case", "for v in abc x q; do case $v in a*) echo A;; y|x) echo yx;; *) echo other;; esac; done", "A\nyx\nother\n", 0),
    ("functions", 'f() { local a=$1; echo "in $a $#"; return 3; }; f x y; echo $? $a', "in x 2\n3\n", 0),
    ("here-document", "x=1; cat <<EOT\nv=$x $(echo sub) \\$x\nEOT\ncat <<'EOT'\n$x `b`\nEOT\ncat <<-EOT\n\ttab\n\tEOT\n", "v=1 sub $x\n$x `b`\ntab\n", 0),
    ("redirections", "{ echo o; echo e >&2; } > both 2>&1; cat both; rm both; { echo a; echo b >&2; } 2>/dev/null; echo c 2>&1 >/dev/null", "o\ne\na\n", 0),
    ("descriptors", "exec 3>&1; echo hi >&3; exec > out; echo into; cat out >&3; rm out", "hi\ninto\n", 0),
    ("pipes", "printf 'x y\\nz\\n' | while read -r a b; do echo \"[$a][$b]\"; done | tac", "[z][]\n[x][y]\n", 0),
    ("pipefail", "false | true; echo $?; set -o pipefail; false | true; echo $?", "0\n1\n", 0),
    ("errexit", "set -e; false || echo ok; if false; then :; fi; ! true; echo still; false; echo no", "ok\nstill\n", 1),
    ("errexit of a substitution", "set -e; x=$(false); echo no", "", 1),
    ("nounset", "set -eu; echo $UNDEFINED; echo no", "", 1),
    ("trap", "trap 'echo bye $?' EXIT; echo hi; exit 3", "hi\nbye 3\n", 3),
    ("subshells", "(exit 5); echo $?; (cd /; pwd); x=1; (x=2); echo $x", "5\n/\n1\n", 0),
    ("environment", "export A=1; B=2; sh -c 'echo \"$A-$B\"'; C=3 sh -c 'echo $C'; echo \"[$C]\"; env -i D=4 sh -c 'echo $D$A'", "1-\n3\n[]\n4\n", 0),
    ("positional", 'set -- a "b c" d; echo $#; for x in "$@"; do echo "<$x>"; done; shift; echo "$1" "$*"', "3\n<a>\n<b c>\n<d>\nb c b c d\n", 0),
    ("conditions", '[[ abc == a* ]] && echo m; [[ abc =~ ^a(b)c$ ]] && echo r; [[ -z "" && ! -f nope ]] && echo z; x=abc; [[ $x == "a*" ]] || echo l', "m\nr\nz\nl\n", 0),
    ("test", 'test -n x -a -z ""; echo $?; [ 1 -eq 2 ]; echo $?; [ ]; echo $?; [ -d /etc ] && [ -x /bin/sh ] && echo fs', "0\n1\n1\nfs\n", 0),
    ("patterns", "mkdir g; touch g/a.txt g/b.txt g/.h; cd g; echo *; echo *.txt '*.txt'; echo z*; cd ..; rm -r g", "a.txt b.txt\na.txt b.txt *.txt\nz*\n", 0),
    ("braces", 'echo {a,b}c {1..3} "{a,b}"', "ac bc 1 2 3 {a,b}\n", 0),
    ("splitting", "IFS=:; y=a:b:c; set -- $y; echo $#; read -r a b <<< 'one:two'; echo \"$b-$a\"", "3\ntwo-one\n", 0),
    ("scripts", "echo 'echo script \"$1\"' > s.sh; sh s.sh arg; chmod +x s.sh; ./s.sh two; echo 'echo in $1' | bash -s three; rm s.sh", "script arg\nscript two\nin three\n", 0),
    ("eval and source", "eval 'x=1; echo $x'; echo 'a=1' > e; . ./e; echo $a; set -a; . ./e; sh -c 'echo $a'; rm e", "1\n1\n1\n", 0),
    ("looking up commands", "command -v sh; command -v nope || echo none; type cd; which curl", "/usr/bin/sh\nnone\ncd is a shell builtin\n/usr/bin/curl\n", 0),
    ("timeout", "timeout 5 true; echo $?; timeout 1 sleep 500; echo $?", "0\n124\n", 0),
    ("exit status", "false; echo $?; sh -c 'exit 7'; echo $?; x=$(exit 4) || echo rc $?; exit 300", "1\n7\nrc 4\n", 44),
    ("text tools", "printf 'b\\na\\nb\\n' | sort -u | tr a-z A-Z; printf 'a:b:c\\n' | cut -d: -f2-; printf '1\\n2\\n3\\n' | sed -n '2p'; echo 'k v' | awk '{print $2}'", "A\nB\nb:c\n2\nv\n", 0),
    ("grep", "printf 'a1\\nb2\\n' | grep -n '[0-9]$'; echo x | grep -q y || echo no; printf 'k: v\\n' | grep -oE '[a-z]+$'; printf 'a\\n' | grep -c .", "1:a1\n2:b2\nno\nv\n1\n", 0),
    ("sed", "echo a/b | sed -e 's|/|_|g' -e 's/a/&&/'; printf '1\\n2\\n3\\n' | sed '2d;$s/3/x/'; echo a > f; sed -i 's/a/b/' f; cat f; rm f", "aa_b\n1\nx\nb\n", 0),
    ("printf", "printf '%s-%s\\n' a b c; printf '%05d|%-4s|%x\\n' 42 ab 255", "a-b\nc-\n00042|ab  |ff\n", 0),
    ("checksums", "printf abc > f; sha256sum f > s; sha256sum -c s; printf abd > f; sha256sum --status -c s; echo $?; rm f s", "f: OK\n1\n", 0),
    ("files", "umask 077; touch f; stat -c %a f; chmod u+x,go+r f; stat -c '%a %s' f; ln -s f l; readlink l; rm f l; install -D -m 640 /dev/stdin d/e <<< x; stat -c %a d/e; rm -r d", "600\n744 0\nf\n640\n", 0),
    ("base64 and xargs", "printf 'hello' | base64; printf aGk= | base64 -d; echo; seq 4 | xargs -n 2 echo x", "aGVsbG8=\nhi\nx 1 2\nx 3 4\n", 0),
]  # fmt: skip

DASH = [
    ("sh is dash: no pipefail", "set -o pipefail; echo no", "", 2),
    ("sh is dash: no [[", "[[ a = a ]]; echo $?", "127\n", 0),
    ("sh is dash: no braces, == or $''", "echo {a,b} $'x'; [ a == a ]; echo $?", "{a,b} $x\n2\n", 0),
    ("sh is dash: echo knows escapes", "echo 'a\\tb'; x=3; echo $((x*2)) ${x%3}.", "a\tb\n6 .\n", 0),
]


@pytest.mark.parametrize(("script", "stdout", "status"), [case[1:] for case in BASH], ids=[case[0] for case in BASH])
def test_a_command_runs_as_in_bash(inn: Town, script: str, stdout: str, status: int) -> None:
    done = inn.run("inn", script)
    assert (done.stdout, done.status) == (stdout, status), done.stderr


@pytest.mark.parametrize(("script", "stdout", "status"), [case[1:] for case in DASH], ids=[case[0] for case in DASH])
def test_a_script_of_sh_runs_as_in_dash(inn: Town, script: str, stdout: str, status: int) -> None:
    done = inn.run("inn", "sh -s", stdin=script.encode())
    assert (done.stdout, done.status) == (stdout, status), done.stderr
