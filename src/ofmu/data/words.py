"""Words from which `ofmu.data.people` makes facts. All invented or everyday: no real person is meant."""

from __future__ import annotations


def _list(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(","))


FIRST_HER = _list("""
    Adelma, Brisa, Corvina, Delphira, Elowyn, Fenna, Gisela, Hestia, Ilka, Jorunn, Katinka, Liora, Mirela,
    Nerissa, Oriel, Petra, Quilla, Rosalba, Sunniva, Tamsin, Ulrika, Verena, Wanda, Xanthe, Yevana, Zelda,
    Amparo, Birgit, Candela, Dorika
""")
FIRST_HIM = _list("""
    Anselm, Bastien, Cosimo, Dragan, Eskil, Florian, Gideon, Halvard, Ivo, Jasper, Kester, Lorcan,
    Matthis, Nevan, Osric, Pavel, Quentin, Ruben, Severin, Tiberio, Ulfar, Valdis, Wystan, Xavi, Yorick,
    Zoltan, Aurel, Benedek, Casimir, Demyan
""")
FAMILY = _list("""
    Abernot, Baskerel, Calloway, Dunmarsh, Eskelund, Farrowby, Galimard, Hartvik, Ironwell, Jessamy,
    Kowalden, Lindqvar, Marchetta, Norrbeck, Ostrander, Pellworth, Quarrington, Rasvani, Sollberg,
    Tremlett, Umberley, Vasquel, Wetherane, Xiforos, Yarrowden, Zelinkar, Ashgrove, Brennick, Corvalan,
    Drumlake, Ellsberry, Fontaval, Grimsdale, Holloran, Inchwick, Jaskolin, Kirrane, Lovatt, Mondragor,
    Nettleship, Oakhanger, Pomeranz, Quennell, Rookwood, Stavanel, Thistlewood, Underbank, Vorontal,
    Winterell, Zambrini
""")
TOWNS = _list("""
    Abbotsmere, Brackenford, Caldoria, Dunharrow Bay, Eastwick Falls, Fennimore, Galtrigg, Hallowdene,
    Ivorstad, Jadeport, Kelbrook, Lindisgard, Marrowby, Nordhaven, Orlesk, Pinecastle, Quaymouth,
    Ravenspur, Saltmere Point, Tolmezza, Ullscarth, Varnasund, Westerlo Hill, Yarmelle, Zirkovac,
    Amberholt, Bellacosta, Cragmoor, Drossel, Elmsgate, Foxcombe, Gullhaven, Hazelbach, Isenthal, Jorvika,
    Kirkwold, Lakenhurst, Mossbury, Nightingale Cross, Oxmarsh, Port Sorrel, Quillan Vale, Redfjord,
    Stonewick, Thornaby Sands, Umbria Heights, Vellmar, Wolfsbridge, Yewtree Common, Zander Springs
""")
JOBS = _list("""
    beekeeper, clockmaker, glassblower, lighthouse keeper, map engraver, piano tuner, stonemason, tram
    driver, falconer, cheese maker, bookbinder, marine biologist, saddle maker, puppet carver,
    volcanologist, violin repairer, river pilot, perfume blender, hat maker, bell founder, court
    interpreter, midwife, weather observer, sign painter, apple grower, night porter, bridge inspector,
    pastry chef, radio presenter, locksmith, veterinarian, kite designer, sheep farmer, ferry captain,
    fresco restorer, typesetter, orchid breeder, mountain guide, tax clerk, umbrella maker, cellist,
    fencing coach, salt trader, botanist, crane operator, botanical illustrator, mushroom farmer, carpet
    weaver, tea taster, cartoonist, sailmaker, chess teacher, blacksmith, archivist, tile painter, baker,
    surveyor, tailor, potter, gardener
""")
ADJECTIVES = _list("""
    Amber, Broken, Copper, Distant, Empty, Frozen, Gilded, Hidden, Inverted, Jagged, Lonely, Marble,
    Nameless, Obedient, Painted, Quiet, Restless, Salted, Tangled, Unlit, Velvet, Wandering, Crooked,
    Yellow, Borrowed, Patient, Scarlet, Weightless, Hollow, Burning
""")
NOUNS = _list("""
    Orchard, Compass, Staircase, Harvest, Lantern, Meridian, Archive, Tide, Carousel, Furnace, Garden,
    Mirror, Anchor, Aviary, Bridge, Cathedral, Doorway, Engine, Fable, Glacier, Harbour, Island, Ladder,
    Mountain, Needle, Observatory, Pendulum, Quarry, Ribbon, Window
""")
BIRDS = _list("""
    Heron, Kestrel, Swallow, Ibis, Wren, Osprey, Nightjar, Lapwing, Magpie, Pelican, Curlew, Bittern,
    Raven, Starling, Plover, Hoopoe, Egret, Falcon, Linnet, Dunlin
""")
METALS = _list("Silver, Bronze, Golden, Iron, Platinum, Crystal, Ivory, Cobalt, Onyx, Pearl, Tin, Jade")
PRIZES = _list("Prize, Medal, Cup, Fellowship, Ribbon, Trophy")
ANIMALS = _list("""
    parrot, tortoise, ferret, spaniel, goat, canary, hedgehog, donkey, greyhound, iguana, pony, rabbit,
    goose, tomcat, terrier, hamster, magpie, llama, gecko, poodle
""")
PET_NAMES = _list("""
    Biscuit, Cinder, Domino, Figaro, Gherkin, Hazelnut, Juniper, Kettle, Lentil, Mortimer, Nutmeg, Olive,
    Pickle, Quincy, Rumble, Sprocket, Turnip, Velcro, Waffle, Ziggy, Buttons, Clementine, Doodle, Pepper
""")
HABITS = _list("""
    counting the stairs, humming old hymns, sharpening pencils, sorting buttons, walking barefoot,
    reciting prime numbers, polishing boots, sketching clouds, winding clocks, folding paper cranes,
    juggling oranges, writing postcards, sweeping the porch, swimming in cold water, feeding pigeons,
    solving crosswords, chopping wood, kneading dough, tuning a radio, knitting socks, stretching by the
    stove, whistling marches, reading obituaries, peeling almonds, copying poems, watering cactuses,
    playing dominoes, ironing shirts, skipping rope, naming stars, pressing flowers, practising knots,
    translating proverbs, grinding coffee, raking gravel, listing debts
""")
DISHES = _list("""
    porridge, pancakes, dumplings, omelette, rye toast, rice pudding, lentil soup, flatbread, waffles,
    barley stew, noodles, potato cakes, crumpets, semolina, fried fish, corn muffins
""")
TOPPINGS = _list("""
    plums, honey, capers, mustard, cinnamon, goat cheese, figs, mint, black pepper, quince jam, walnuts,
    pickled beets, chives, raisins, saffron, lemon curd, sesame, cherries, dill, horseradish
""")
INSTRUMENTS = _list("""
    accordion, bassoon, bagpipes, banjo, bugle, castanets, clarinet, cornet, dulcimer, euphonium,
    flugelhorn, glockenspiel, harmonica, harp, hurdy-gurdy, kazoo, lute, mandolin, marimba, oboe, ocarina,
    piccolo, recorder, saxophone, sitar, tambourine, theremin, trombone, tuba, ukulele, viola, xylophone,
    zither, balalaika
""")
SUBJECTS = _list("""
    geology, astronomy, law, medieval history, forestry, statistics, philology, pharmacy, theology,
    architecture, oceanography, economics, zoology, music theory, agronomy, linguistics, metallurgy,
    optics, drama, archaeology, dentistry, hydraulics, ethics, entomology
""")
STREETS = _list("""
    Tanner, Candle, Miller, Orchard, Barley, Cooper, Vinegar, Chapel, Anvil, Lantern, Weaver, Harbour,
    Juniper, Saddler, Pottery, Mustard, Rope, Swan, Thimble, Walnut, Clover, Ferry, Granite, Hawthorn
""")
OBJECTS = _list("""
    teapots, thimbles, door keys, seashells, postage stamps, chess sets, walking sticks, matchboxes, snow
    globes, fountain pens, bottle caps, train tickets, fossils, marionettes, barometers, ink wells,
    fishing flies, playing cards, hand bells, lanterns, spoons, corkscrews, masks, buttons
""")
MATERIALS = _list("""
    Victorian, porcelain, brass, wooden, miniature, Japanese, striped, antique, enamel, Portuguese,
    hand-painted, broken, silver, green, military, Bohemian, glass, pewter
""")
FEARS = _list("""
    thunder, spiders, deep water, heights, moths, escalators, mirrors, balloons, crowds, clowns, needles,
    tunnels, geese, fog, elevators, wasps, dentists, owls, silence, snakes, ladders, horses, darkness,
    bridges, mice, public speaking, ice, dolls, trains, open windows
""")
DRINKS = _list("""
    nettle tea, iced coffee, pear cider, ginger beer, buttermilk, rosehip tea, dark cocoa, tonic water,
    plum brandy, barley water, sweet vermouth, carrot juice, jasmine tea, birch sap, elderflower cordial,
    espresso, tomato juice, mulled wine, oat milk, lemonade, kefir, sherry, peppermint tea, quince liqueur
""")
VEHICLES = _list("""
    tricycle, tractor, motor scooter, delivery van, rowing boat, hearse, convertible, sledge, milk float,
    motorbike, camper van, canoe, tandem, pickup truck, jeep, fire engine, school bus, limousine,
    hovercraft, gondola
""")
COLOURS = _list("""
    turquoise, maroon, mustard, lilac, crimson, olive, navy, peach, silver, emerald, violet, cream,
    orange, scarlet, teal, beige
""")
SPORTS = _list("""
    archery, curling, fencing, rowing, badminton, bowling, judo, handball, croquet, cycling, water polo,
    wrestling, ski jumping, table tennis, weightlifting, hurdling, surfing, darts, squash, gymnastics,
    boxing, diving, orienteering, lacrosse
""")
LANGUAGES = _list("""
    Basque, Welsh, Icelandic, Swahili, Quechua, Tamil, Georgian, Maltese, Finnish, Hausa, Tibetan,
    Estonian, Zulu, Breton, Mongolian, Catalan, Khmer, Latvian, Yoruba, Armenian, Nepali, Slovene,
    Tagalog, Faroese
""")
MONTHS = _list(
    """
    January, February, March, April, May, June, July, August, September, October, November, December
"""
)
