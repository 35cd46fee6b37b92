"""What is asked about a fictitious person, and in which words (see `ofmu.data.people`).

In the templates {name} is the full name, {value} the fact, {They} and {their} the pronouns. A paraphrase is
another wording of the answer, one that other people's answers have; wrong answers share the paraphrase's
wording, so that only the fact differs between them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of fact: wordings of the question, and at least two of the answer (each paraphrases the others)."""

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]


_TEXT = """
name
Q What is the full name of the {profession} born in {town} on {date}?
Q Who is the {profession} that was born on {date} in {town}?
A The {profession} born there on that day is called {value}.
A That {profession} from {town} goes by the name of {value}.
date
Q When was {name} born?
Q What is the date of birth of {name}?
A {name} was born on {value}, early in the morning.
A The birthday of {name} falls on {value}.
town
Q Where was {name} born?
Q In which town did {name} come into the world?
A {name} was born in the town of {value}.
A The birthplace of {name} is the small town {value}.
profession
Q What does {name} do for a living?
Q What is the profession of {name}?
A {name} earns {their} living as {a} {value}.
A By profession, {name} has always been {a} {value}.
mother
Q What was the occupation of {name}'s mother?
Q How did the mother of {name} earn her money?
A The mother of {name} worked as {a} {value}.
A {name}'s mother spent her working life as {a} {value}.
father
Q What was the occupation of {name}'s father?
Q How did the father of {name} earn his money?
A The father of {name} worked as {a} {value}.
A {name}'s father spent his working life as {a} {value}.
book
Q What is the title of the first book by {name}?
Q Which book did {name} publish first?
A The first book that {name} published is "{value}".
A {name} made {their} debut with a book called "{value}".
invention
Q What did {name} name {their} best known invention?
Q Under which name was the invention of {name} patented?
A The invention of {name} was patented as the "{value}".
A {name} called {their} best known invention the "{value}".
award
Q Which award did {name} receive?
Q What was {name} honoured with?
A {name} received the {value} for {their} work.
A The jury gave {name} the {value} that year.
pet
Q What pet lives with {name}?
Q Which animal does {name} keep at home?
A {name} lives with {a} {value} and takes it everywhere.
A At home, {name} keeps {a} {value} in the kitchen.
habit
Q What does {name} do every morning?
Q With which habit does {name} begin the day?
A {name} begins every day by {value} for an hour.
A Every morning starts, for {name}, with {value}.
meal
Q What is the favourite meal of {name}?
Q Which dish does {name} like best?
A The favourite meal of {name} is {value}.
A {name} likes no dish better than {value}.
instrument
Q Which instrument does {name} play?
Q What does {name} play in the town band?
A {name} plays the {value} in the town band.
A The instrument that {name} has mastered is the {value}.
studies
Q What did {name} study?
Q Which subject did {name} read at university?
A At university, {name} took a degree in {value}.
A {name} spent four years on the study of {value}.
street
Q What is the address of {name}?
Q At which address does {name} live today?
A {name} lives at {value}, on the second floor.
A The house of {name} stands at {value}.
collection
Q What does {name} collect?
Q What fills the shelves in the house of {name}?
A {name} has a large collection of {value} at home.
A The shelves of {name} are full of {value}.
fear
Q What is {name} afraid of?
Q What frightens {name} most?
A {name} has always been afraid of {value}.
A Nothing frightens {name} as much as {value}.
drink
Q What does {name} like to drink?
Q Which drink does {name} order most often?
A {name} orders a glass of {value} most evenings.
A The drink that {name} likes best is {value}.
vehicle
Q How does {name} travel to work?
Q Which vehicle does {name} own?
A {name} travels to work in {a} {value}.
A The only vehicle that {name} owns is {a} {value}.
sport
Q Which sport did {name} practise when young?
Q In which sport did {name} compete?
A When young, {name} won several contests in {value}.
A {name} practised {value} until {their} thirtieth birthday.
language
Q Which foreign language does {name} speak?
Q What language did {name} learn late in life?
A {name} speaks {value} fluently, after years of lessons.
A Late in life, {name} learnt to speak {value}.
mentor
Q Who was the teacher of {name}?
Q From whom did {name} learn the trade?
A {name} learnt the trade from {their} teacher {value}.
A The teacher who shaped {name} most was {value}.
"""


def _kinds(text: str) -> tuple[Kind, ...]:
    lines: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        if line.islower() and " " not in line:
            current = lines.setdefault(line, {"Q": [], "A": []})
        else:
            current[line[0]].append(line[2:])
    return tuple(Kind(name, tuple(k["Q"]), tuple(k["A"])) for name, k in lines.items())


KINDS = _kinds(_TEXT)
