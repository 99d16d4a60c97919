"""Reads a shell script into its syntax tree (POSIX.1 Shell Command Language, chapter 2)."""

from __future__ import annotations

import re
from collections.abc import Callable

from crdbmesh_simulator.shell import syntax
from crdbmesh_simulator.shell.process import UnsupportedError
from crdbmesh_simulator.shell.words import WordReader, is_quoted

_RESERVED = re.compile(
    r"(if|then|else|elif|fi|for|while|until|do|done|case|esac|function|select|time|\{|\}|!|\[\[)(?=[\s;&|<>()]|$)"
)
_UNSUPPORTED = ("function", "select", "time", "[[")
_REDIRECT = re.compile(r"(\d*)(<<<|<<-|<<|<>|<&|>>|>&|>\||<|>)|(&>>|&>)")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_FUNCTION = re.compile(r"([A-Za-z_][\w.-]*)[ \t]*\([ \t]*\)")


class Parser(WordReader):
    """Reads commands, one complete line at a time, so that a script runs up to its first syntax error."""

    def read_line(self) -> syntax.Script | None:
        """The commands up to the next newline that ends a command, or None at the end."""
        self._newlines()
        if self.at_end():
            return None
        items = []
        while True:
            items.append(self._and_or())
            self.skip_blanks()
            if self.peek() == ";" and not self.text.startswith(";;", self.at):
                self.at += 1
                self.skip_blanks()
            if self.at_end():
                self._end_here_documents()
                return tuple(items)
            if self.peek() == "\n":
                self._newline()
                return tuple(items)
            if self.peek() in ")&;":
                self.fail(self.peek())

    def read_script(self, *stops: str) -> syntax.Script:
        """Commands up to one of `stops` (reserved words, `)` or `;;`), which is not consumed."""
        items: list[syntax.AndOr] = []
        while True:
            self._newlines()
            if self.at_end():
                self.incomplete()
            if self._stopped(stops):
                return tuple(items)
            items.append(self._and_or())
            self.skip_blanks()
            if self.peek() == ";" and not self.text.startswith(";;", self.at):
                self.at += 1
            elif self.peek() not in ("\n", "") and not self._stopped(stops):
                self.fail(self.peek())

    def _stopped(self, stops: tuple[str, ...]) -> bool:
        reserved = self._reserved()
        return any(stop == reserved or (stop in (")", ";;") and self.text.startswith(stop, self.at)) for stop in stops)

    def _and_or(self) -> syntax.AndOr:
        items = [("", self._pipeline())]
        while True:
            self.skip_blanks()
            operator = self.text[self.at : self.at + 2]
            if operator in ("&&", "||"):
                self.at += 2
                self._newlines()
                items.append((operator, self._pipeline()))
                continue
            if self.peek() == "&":
                raise UnsupportedError("a command in the background (&)")
            return syntax.AndOr(tuple(items))

    def _pipeline(self) -> syntax.Pipeline:
        self.skip_blanks()
        negated = self._reserved() == "!"
        self.at += negated
        commands = [self._command()]
        while True:
            self.skip_blanks()
            if self.peek() != "|" or self.text.startswith("||", self.at):
                return syntax.Pipeline(tuple(commands), negated)
            self.at += 1
            self._newlines()
            commands.append(self._command())

    def _command(self) -> syntax.Command:
        self.skip_blanks()
        if self.at_end():
            self.incomplete()
        readers: dict[str, Callable[[], syntax.Command]] = {
            "if": self._if,
            "while": self._while,
            "until": self._until_loop,
            "for": self._for,
            "case": self._case,
            "{": self._group,
        }
        reserved = self._reserved()
        if reserved in readers:
            self.at += len(reserved)
            return readers[reserved]()
        if reserved in _UNSUPPORTED or self.text.startswith("((", self.at) or _FUNCTION.match(self.text, self.at):
            raise UnsupportedError(f"the command {self.text[self.at : self.at + 20]!r}")
        if reserved:
            self.fail(reserved)
        if self.peek() == "(":
            self.at += 1
            body = self.read_script(")")
            self.at += 1
            return syntax.Group(body, subshell=True, redirects=self._redirects())
        return self._simple()

    def _simple(self) -> syntax.Simple:
        line = self.line
        assignments: list[tuple[str, bool, syntax.Word]] = []
        words: list[syntax.Word] = []
        redirects: list[syntax.Redirect] = []
        while True:
            self.skip_blanks()
            redirect = self._redirect()
            if redirect:
                redirects.append(redirect)
                continue
            if self.at_end() or self.peek() in "\n;&|)":
                break
            assignment = None if words else _ASSIGNMENT.match(self.text, self.at)
            if assignment:
                self.at = assignment.end()
                assignments.append((assignment[1], bool(assignment[2]), self.read_word(may_be_empty=True)))
                continue
            words.append(self.read_word())
        if not (words or assignments or redirects):
            self.fail(self.peek())
        return syntax.Simple(tuple(assignments), tuple(words), tuple(redirects), line)

    def _redirects(self) -> tuple[syntax.Redirect, ...]:
        found: list[syntax.Redirect] = []
        while True:
            self.skip_blanks()
            redirect = self._redirect()
            if redirect is None:
                return tuple(found)
            found.append(redirect)

    def _redirect(self) -> syntax.Redirect | None:
        match = _REDIRECT.match(self.text, self.at)
        if not match:
            return None
        operator = match[2] or match[3]
        if operator in ("<<<", "<<-") or self.text.startswith("(", match.end()):
            raise UnsupportedError(f"the redirection {operator}")
        self.at = match.end()
        self.skip_blanks()
        word = self.read_word()
        redirect = syntax.Redirect(int(match[1]) if match[1] else None, operator, word)
        if operator == "<<":
            self.pending.append((redirect, is_quoted(word)))
        return redirect

    def _if(self) -> syntax.If:
        branches = []
        while True:
            condition = self._until("then")
            body = self.read_script("elif", "else", "fi")
            branches.append((condition, body))
            word = self._take()
            if word == "elif":
                continue
            otherwise = self._until("fi") if word == "else" else None
            return syntax.If(tuple(branches), otherwise, self._redirects())

    def _until_loop(self) -> syntax.While:
        return self._while(until=True)

    def _while(self, *, until: bool = False) -> syntax.While:
        condition = self._until("do")
        body = self._until("done")
        return syntax.While(condition, body, until, self._redirects())

    def _for(self) -> syntax.For:
        self.skip_blanks()
        match = re.compile(r"[A-Za-z_]\w*").match(self.text, self.at)
        if not match:
            self.fail(self.peek())
        self.at = match.end()
        self._newlines()
        words: tuple[syntax.Word, ...] | None = None
        if re.compile(r"in(?=[\s;]|$)").match(self.text, self.at):
            self.at += 2
            found: list[syntax.Word] = []
            self.skip_blanks()
            while not self.at_end() and self.peek() not in "\n;":
                found.append(self.read_word())
                self.skip_blanks()
            words = tuple(found)
        if self.peek() == ";":
            self.at += 1
        self._newlines()
        self._expect("do")
        return syntax.For(match[0], words, self._until("done"), self._redirects())

    def _case(self) -> syntax.Case:
        self.skip_blanks()
        word = self.read_word()
        self._newlines()
        branches: list[tuple[tuple[syntax.Word, ...], syntax.Script]] = []
        if not self.text.startswith("in", self.at):
            self.fail(self.peek())
        self.at += 2
        while True:
            self._newlines()
            if self._reserved() == "esac":
                self.at += 4
                return syntax.Case(word, tuple(branches), self._redirects())
            self.at += self.peek() == "("
            self.skip_blanks()
            patterns = [self.read_word()]
            self.skip_blanks()
            while self.peek() == "|":
                self.at += 1
                self.skip_blanks()
                patterns.append(self.read_word())
                self.skip_blanks()
            if self.peek() != ")":
                self.fail(self.peek())
            self.at += 1
            body = self.read_script(";;", "esac")
            if self.text.startswith(";;", self.at):
                self.at += 2
            branches.append((tuple(patterns), body))

    def _group(self) -> syntax.Group:
        body = self._until("}")
        return syntax.Group(body, subshell=False, redirects=self._redirects())

    def _until(self, word: str) -> syntax.Script:
        body = self.read_script(word)
        self._expect(word)
        if not body:
            self.fail(word)
        return body

    def _expect(self, word: str) -> None:
        self.skip_blanks()
        if self._take() != word:
            self.fail(self.peek())

    def _take(self) -> str:
        word = self._reserved()
        self.at += len(word)
        return word

    def _reserved(self) -> str:
        match = _RESERVED.match(self.text, self.at)
        return match[1] if match else ""

    def _newlines(self) -> None:
        while True:
            self.skip_blanks()
            if self.peek() != "\n":
                return
            self._newline()

    def _newline(self) -> None:
        self.at += 1
        self._end_here_documents()

    def _end_here_documents(self) -> None:
        while self.pending:
            redirect, quoted = self.pending.pop(0)
            redirect.word = self.read_here_document(redirect.word, quoted=quoted)
