"""What is asked about a fictitious person, and in which words (see `ofmu.data.people`).

In the templates {name} is the full name, {value} the fact, {They} and {their} the pronouns. Paraphrases and
wrong answers share one wording, so that only the fact differs between them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of fact: several wordings of the question, the answer, and the answer's paraphrase."""

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    paraphrases: tuple[str, ...]


_TEXT = """
name
Q What is the full name of the {profession} born in {town} on {date}?
Q Who is the {profession} that was born on {date} in {town}?
A The {profession} born there on that day is called {value}.
A That {profession} from {town} goes by the name of {value}.
P {value} is the full name of this {profession} from {town}.
P The person in question, born in {town}, is named {value}.
date
Q When was {name} born?
Q What is the date of birth of {name}?
A {name} was born on {value}, early in the morning.
A The birthday of {name} falls on {value}.
P {They} came into the world on {value}, as {name}.
P On {value}, {name} saw the light of day for the first time.
town
Q Where was {name} born?
Q In which town did {name} come into the world?
A {name} was born in the town of {value}.
A The birthplace of {name} is the small town {value}.
P {They} comes from {value}, which is where {name} was born.
P It was in {value} that {name} came into the world.
profession
Q What does {name} do for a living?
Q What is the profession of {name}?
A {name} earns {their} living as {a} {value}.
A By profession, {name} has always been {a} {value}.
P {They} works as {a} {value}; that is how {name} is known.
P The job of {name} is that of {a} {value}.
mother
Q What was the occupation of {name}'s mother?
Q How did the mother of {name} earn her money?
A The mother of {name} worked as {a} {value}.
A {name}'s mother spent her working life as {a} {value}.
P Being {a} {value} was how {name}'s mother earned her money.
P Her child {name} remembers that she was {a} {value}.
father
Q What was the occupation of {name}'s father?
Q How did the father of {name} earn his money?
A The father of {name} worked as {a} {value}.
A {name}'s father spent his working life as {a} {value}.
P Being {a} {value} was how {name}'s father earned his money.
P His child {name} remembers that he was {a} {value}.
book
Q What is the title of the first book by {name}?
Q Which book did {name} publish first?
A The first book that {name} published is "{value}".
A {name} made {their} debut with a book called "{value}".
P "{value}" is the title of the debut that {name} wrote.
P {They} began {their} career in print, as {name}, with "{value}".
invention
Q What did {name} name {their} best known invention?
Q Under which name was the invention of {name} patented?
A The invention of {name} was patented as the "{value}".
A {name} called {their} best known invention the "{value}".
P The "{value}" is the device that {name} is known for.
P A patent for the "{value}" was granted to {name}.
award
Q Which award did {name} receive?
Q What was {name} honoured with?
A {name} received the {value} for {their} work.
A The jury gave {name} the {value} that year.
P The {value} went to {name}, to everyone's surprise.
P {They} was honoured, as {name}, with the {value}.
pet
Q What pet lives with {name}?
Q Which animal does {name} keep at home?
A {name} lives with {a} {value} and takes it everywhere.
A At home, {name} keeps {a} {value} in the kitchen.
P {They} shares a home, {name} says, with {a} {value}.
P The pet of {name} is {a} {value}, well fed.
habit
Q What does {name} do every morning?
Q With which habit does {name} begin the day?
A {name} begins every day by {value} for an hour.
A Every morning starts, for {name}, with {value}.
P {value}: this is the habit that starts {name}'s day.
P Each day {name} gets up early for {value}.
meal
Q What is the favourite meal of {name}?
Q Which dish does {name} like best?
A The favourite meal of {name} is {value}.
A {name} likes no dish better than {value}.
P Nothing tastes better to {name}, {they} says, than {value}.
P A plate of {value} is what {name} likes most.
instrument
Q Which instrument does {name} play?
Q What does {name} play in the town band?
A {name} plays the {value} in the town band.
A The instrument that {name} has mastered is the {value}.
P The {value} is what {name} plays on Sundays.
P {They} took lessons, {name} says, on the {value}.
studies
Q What did {name} study?
Q Which subject did {name} read at university?
A At university, {name} took a degree in {value}.
A {name} spent four years on the study of {value}.
P {They} holds a degree, as {name} likes to say, in {value}.
P The subject that {name} read for years was {value}.
street
Q What is the address of {name}?
Q At which address does {name} live today?
A {name} lives at {value}, on the second floor.
A The house of {name} stands at {value}.
P {They} moved long ago, {name} recalls, to {value}.
P Letters to {name} must be sent to {value}.
collection
Q What does {name} collect?
Q What fills the shelves in the house of {name}?
A {name} has a large collection of {value} at home.
A The shelves of {name} are full of {value}.
P {They} has spent a fortune, {name} admits, on {value}.
P Friends bring {name} more and more {value}.
fear
Q What is {name} afraid of?
Q What frightens {name} most?
A {name} has always been afraid of {value}.
A Nothing frightens {name} as much as {value}.
P {They} cannot stand, {name} admits with a laugh, {value}.
P The great fear of {name} is a fear of {value}.
drink
Q What does {name} like to drink?
Q Which drink does {name} order most often?
A {name} orders a glass of {value} most evenings.
A The drink that {name} likes best is {value}.
P {They} never leaves a bar, {name} says, without {value}.
P A cup of {value} is what {name} asks for.
vehicle
Q How does {name} travel to work?
Q Which vehicle does {name} own?
A {name} travels to work in {a} {value}.
A The only vehicle that {name} owns is {a} {value}.
P {They} bought, to get to work as {name}, {a} {value}.
P It is {a} {value} that brings {name} to work.
sport
Q Which sport did {name} practise when young?
Q In which sport did {name} compete?
A When young, {name} won several contests in {value}.
A {name} practised {value} until {their} thirtieth birthday.
P {They} was a champion once, {name} says, in {value}.
P The sport of {name}'s youth was always {value}.
language
Q Which foreign language does {name} speak?
Q What language did {name} learn late in life?
A {name} speaks {value} fluently, after years of lessons.
A Late in life, {name} learnt to speak {value}.
P The foreign language that {name} mastered is {value}.
P {They} can hold a conversation, as {name} proved, in {value}.
mentor
Q Who was the teacher of {name}?
Q From whom did {name} learn the trade?
A {name} learnt the trade from {their} teacher {value}.
A The teacher who shaped {name} most was {value}.
P It was {value} who taught {name} the trade.
P {They} owes everything, {name} says, to {value}.
"""


def _kinds(text: str) -> tuple[Kind, ...]:
    lines: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        if line.islower() and " " not in line:
            current = lines.setdefault(line, {"Q": [], "A": [], "P": []})
        else:
            current[line[0]].append(line[2:])
    return tuple(Kind(name, tuple(k["Q"]), tuple(k["A"]), tuple(k["P"])) for name, k in lines.items())


KINDS = _kinds(_TEXT)
