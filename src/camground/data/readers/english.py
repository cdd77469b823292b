"""Word lists of the stop-word splitter in `noun_phrases`: the English of image captions.

A word that is in no list counts as a noun, which is what most content words of a caption are.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    """a an the this that these those his her its their my your our some any each every all both either
    neither no such what whose same"""
)
PRONOUNS = _words(
    """i me you he him she it we us they them himself herself itself themselves yourself myself who whom
    which that someone somebody something somthing anyone anything everyone everything nothing nobody one
    ones other others each theirs hers mine yours there here"""
)
# After these a word that can be a verb is one.
SUBJECT_PRONOUNS = _words("i you he she it we they who which that to can could will would may must")
NUMBERS = _words(
    """two three four five six seven eight nine ten eleven twelve dozen several many few various numerous
    multiple single lone another"""
)
PREPOSITIONS = _words(
    """about above across after against ahead along alongside alond amid amidst among amongst around as at
    atop away back-to-back before behind below beneath beside besides between beyond by down downward during
    except for from in inside into like near nearby next of off on onto opposite out outside outdoors indoors
    over overtop past per since through throughout to together toward towards under underneath until up upon
    upside-down upside uphill downhill via w/ with within without"""
)
# Conjunctions, auxiliaries, adverbs, question words.
FUNCTION_WORDS = _words(
    """and or but nor so yet while whilst when where whereas because if than then though although whether how
    why is are was were be been being am has have had having do does did done doing can could will would
    shall should may might must not n't 's very too also just only still even almost already again ever never
    now once quite rather really soon perhaps maybe both else instead however close apart aside forward
    backwards backward sideways headfirst midway halfway airborne asleep awake aloft ashore aboard alone well
    fast hard ready able away along outward upright upwards forwards home mid-jump mid-flight full-speed
    partially mostly somewhere everywhere much more most less least pretty"""
)

COLOURS = _words(
    """black white brown red blue green yellow orange pink purple gray grey tan beige golden gold silver
    blonde blond brunette maroon teal navy khaki turquoise violet colorful colourful multicolored
    multi-colored multi-color dark light bright pale neon striped spotted plaid checkered floral tricolored
    tri-colored camouflage"""
)
ADJECTIVES = COLOURS | _words(
    """young old older younger elderly little small smaller large larger big bigger huge giant tiny tall
    short long high low wide narrow thin thick deep shallow steep flat round square wet dry muddy dirty dusty
    sandy snowy icy rocky grassy wooden wooded metal plastic concrete hilly wavy foggy cloudy sunny rainy
    rough calm choppy clear murky empty full crowded busy open closed fluffy furry hairy shaggy curly bald
    bare barefoot shirtless topless naked nude lone happy sad excited tired silly funny cute pretty beautiful
    scenic heavy fat skinny slim muscular fancy formal casual traditional modern urban rural public outdoor
    indoor asian african american african-american indian german chinese japanese oriental hispanic caucasian
    native eastern western male female teenage adult middle-aged professional athletic inflatable stuffed
    soft hard hot cold warm cool frozen fresh new first second third last next final different similar
    identical matching various leafy fallen broken rusty electric military tropical fake real toy-like lush
    bushy spiky pointy sharp shiny reflective sheer skimpy tight loose strange odd unusual interesting
    leather denim woolen fuzzy friendly lonely ugly burly bubbly wrinkly smelly tattooed overweight pregnant
    homeless handicapped disabled blind dead lively fellow single front rear hind upper lower own"""
)
# Adjectives that also end a phrase as its noun: "street light", "an orange".
ALSO_NOUNS = _words("light orange gold silver metal plastic concrete leather denim adult female male")

# Only ever verbs in a caption, whatever stands around them.
VERBS = _words(
    """sit wear eat chase throw carry lay lie engage oppose cruise waterski see know take make get go come
    give put say try attempt prepare appear seem bite sing speak talk laugh enjoy sleep grab hug lick sniff
    retrieve reach kneel crouch crawl hold begin start stop stay keep let follow approach perform compete
    participate practice gather celebrate wait stare peer peek gaze observe examine inspect overlook include
    contain consist wade bounce emerge enter exit descend ascend attack defend wrestle tug raise bring pick
    pour read write listen hear tell ask use help show become jog sprint juggle balance dangle hang trot
    gallop pounce lunge growl gnaw chew fetch travel operate navigate maneuver relax rest pretend embrace
    dribble pause squat struggle tumble topple twirl shake cling share feed cheer hide spin grind sell buy
    learn teach think want need find lose win meet remain continue demonstrate dig carve dump soar aim dash"""
)
# Past forms and participles that do not end in -ed.
IRREGULAR_VERBS = _words(
    """sat stood ran ate held wore worn seen saw caught thrown threw taken took made got gotten went gone
    came given gave driven drove ridden rode shown lit built kept left laid lain done spread bent hung hidden
    flung swung sung spoken written blown drawn grown known leapt knelt slept swam torn shot bitten eaten led
    fed beaten won lost brought bought felt told ahve wearng"""
)
# Never in front of their noun: "a man in red wearing a hat".
ONLY_DOING = _words(
    """wearing holding carrying looking having using being trying getting watching chasing throwing catching
    pulling pushing taking making doing going sitting riding playing"""
)
# Nouns or verbs: which one is told by what stands before (see `noun_phrases`).
NOUNS_OR_VERBS = _words(
    """jump run stand walk play ride watch hand rock step wave swing slide pose bike ski face dress head
    stick point drink dance skate skateboard surf paddle plant light rope fall trick work cross fish duck
    smoke block spot roll turn cover fan paint drive flip ring park pass post sled kayak canoe raft shovel
    float bound spray sail snowboard row box cast shade bend scale lead line land picture set fly photograph
    train bear bark pet kiss touch bowl pitch cook crash motorcycle bicycle rollerblade rappel wakeboard cut
    saw trail bat wrap cycle sketch plunge sweep speed place form gesture guard pedal hurdle dunk serve swoop
    stroll march parade circle charge fight race pull push hit kick catch dive climb leave leap swim smile
    splash rest stretch hug display look stop start share bite exit use shot bath fire camp shop skip hop
    snow crowd surround name check score lounge lift sport model perch type call shoot move blow grip sweat
    cheer tackle hike toss lean hang"""
)

# Who or what does things in a caption: a verb can follow.
AGENTS = _words(
    """man men woman women boy boys girl girls child children kid kids person people baby babies toddler
    toddlers infant lady ladies guy guys gentleman adult adults teenager teenagers teen teens male males
    female females individual individuals couple couples family families group crowd team teams friend
    friends brother brothers sister sisters mother father mom dad son daughter parent parents owner student
    students athlete athletes cowboy cowboys cyclist cyclists bicyclist bicyclists motorcyclist motorist
    guitarist artist artists youth youths policeman policemen cop dog dogs puppy puppies poodle poodles
    terrier greyhound greyhounds retriever collie labrador lab beagle dalmatian bulldog pup cat cats kitten
    horse horses bird birds duck ducks cow cows sheep goat goats animal animals monkey bear elephant seagull
    seagulls tiger lion squirrel rabbit deer band audience class crew bride groom clown santa model statue
    car cars truck boat boats plane train bus motorcycle motorcycles bicycle player players tourist tourists
    musician musicians goalie goalies kayaker jockey jockeys lacrosse bmx biker"""
)
PLURALS = _words("men women children people police sheep geese")
# Words in -er that nobody is.
NOT_AGENTS_IN_ER = _words(
    """water river flower flowers sweater tower towers bumper paper papers corner corners feather feathers
    leather ladder ladders roller soccer summer winter center counter sprinkler sprinklers stroller strollers
    scooter scooters banner banners boulder boulders shoulder shoulders finger fingers trailer trailers
    container containers barrier barriers number numbers border poster posters computer camera cooler
    dumpster helicopter letter letters pier power rubber shower shutter sneaker sneakers speaker speakers
    sticker stickers theater timber trigger underwater weather copper cover covers cucumber deer beer other
    another crater gutter locker planter sparkler sparklers slippers streamer streamers"""
)

# Words in -ing that are things, not doings.
NOUNS_IN_ING = _words(
    """building railing clothing swing ring string painting ceiling awning wedding wing earring king sling
    evening morning spring thing covering lighting siding bling icing outcropping piercing crossing clearing
    viking duckling icicle-ring dressing wiring coating outing landing"""
)
# What a word in -ing names in front of these: "swimming pool", "fishing pole".
NOUNS_AFTER_ING = _words(
    """pool pools trunks suit suits pole poles rod rods cart carts bag bags mall lot lots wall walls gear
    equipment trail trails board boards rink wheel wheels gloves chair chairs alley band cap shoes goggles
    machine stick sticks costume costumes uniform uniforms outfit helmet dress ring net boots hat ramp"""
)
NOT_PARTICIPLES_IN_ED = _words("red bed sled shed seaweed speed breed weed reed steed bobsled")
NOT_ADVERBS_IN_LY = _words(
    """family belly fly bully jelly lily assembly butterfly dragonfly ally rally doily potbelly italy supply
    monopoly"""
)

# "a group of people" is one thing, "the edge of the pool" two.
MEASURES = _words(
    """group groups couple pair pairs bunch crowd team herd flock pack piece pieces body pile stack row line
    lot lots block slab set number cup glass bottle slice bowl plate bag can bouquet bucket bunches handful
    series string cluster variety stream gang trio sheet patch field bed ball"""
)
# Places and times that are no object; a phrase of these and adjectives alone is dropped.
NOT_OBJECTS = _words(
    """front back top side sides middle end ends edge bottom left right background foreground distance way
    air midair mid-air mid day night time afternoon morning evening daytime nighttime dusk direction course
    look fun something action motion order place turn part half kind type sort bit lot lots while photo
    picture image view scene it's t s position progress speed sight attempt pose use rest width age sport
    game event tow trick tricks stunt stunts race competition match closeup close-up run walk ride play
    performance"""
)
