"""Paragraphs of continuous prose: for each theme, alternative sentences for each place."""

from __future__ import annotations

from .topic import phrases

# One theme a string: its title, then one group of alternatives for each place in the paragraph.
BLOCKS: tuple[str, ...] = (
    """the morning market

    The traders arrive while the square is still grey and wet.
    Long before the shops open, vans crowd into the narrow street.
    At five the first crates are already scraping over the cobbles.

    Someone lights a stove and the smell of coffee drifts between the stalls.
    Awnings go up with a clatter, striped and patched and faded.
    A boy sprinkles water on the lettuces until they shine.

    The fish come last, packed in ice that melts towards the drain.
    An old woman arranges her eggs by colour, brown beside white beside blue.
    The cheese seller cuts a sliver for anyone who looks hungry.

    By eight the crowd is thick and nobody can walk in a straight line.
    Soon the air is full of prices, greetings and the barking of small dogs.
    Then the church bell rings and, as if on a signal, the buyers pour in.

    People come for onions and leave with gossip, flowers and far too much bread.
    No one hurries, although everyone pretends to.
    Every purchase needs a little ceremony, a joke, a pinch of parsley thrown in.

    By early afternoon only a few crushed leaves are left.
    When the last van has gone, the pigeons take over the square.
    At two the sweepers arrive, and the place belongs to the cats again.""",
    """a walk in the hills

    The path leaves the village behind the last barn and climbs at once.
    We set out under a sky the colour of pewter, with bread and apples in our bags.
    Beyond the sheepfold the lane turned into a track, and the track into a suggestion.

    The bracken was wet, and within minutes our boots were soaked.
    Larks rose on either side, singing as though they were paid for it.
    A stream ran beside us for a while, then slipped away under the stones.

    Halfway up we rested against a wall that had lost half of its height.
    At the second gate a pony watched us with deep suspicion.
    The wind grew stronger with every bend, and talking became a waste of breath.

    From the ridge the whole valley lay open like a page.
    At the top there was nothing but a heap of stones and a great deal of air.
    The summit, when it came, was flat, cold and utterly quiet.

    We could see the river, the railway and the tiny smoke of a bonfire.
    Far to the west a strip of sea caught the light and let it go.
    Cloud shadows crossed the fields as slowly as cattle.

    Going down was harder on the knees but easier on the spirits.
    We ate the last apple at the stile and said very little.
    It was nearly dark when the first window of the village came into view.""",
    """an old library

    The reading room smells of floor polish, dust and somebody's peppermint.
    Nobody knows exactly how many books the old library owns.
    The library stands at the end of the lane, with its back to the river.

    Tall windows let in a light that seems older than the light outside.
    The shelves reach so high that the upper ones are visited only by ladder.
    Each table has a green lamp, a brass number and a history of scratches.

    In the mornings the regulars come for the newspapers and the warmth.
    A man in a raincoat has been reading the same atlas since the spring.
    Students whisper near the stairs, and the stairs creak in reply.

    The librarian walks without a sound and sees everything.
    Behind the desk a clock ticks a little faster than time itself.
    Now and then a trolley squeaks past like a shy animal.

    There are letters between the pages, tickets, pressed violets, a recipe for soup.
    The oldest volumes sleep in a locked case and are aired once a year.
    In the margins, generations of readers have argued in pencil.

    When the bell rings at six, people look up as if they had been woken.
    At closing time the lamps go out one after another, from the door to the far wall.
    Leaving, one is always surprised that the street is still there.""",
    """a night train

    The train pulled out so gently that the platform seemed to move instead.
    It was past eleven when the sleeper finally left the city.
    We found our compartment by the number on a small enamel plate.

    For a while the lit windows of kitchens slid by, each with its own supper.
    The suburbs thinned, and the dark came right up to the glass.
    A steward brought tea in tall glasses that rattled in their holders.

    In the lower bunk a man was already asleep with his hat over his face.
    Across the corridor somebody was peeling an orange, and the whole carriage knew it.
    Two students played cards on a suitcase, whispering their bids.

    The wheels had a rhythm that turned into a song if one listened for too long.
    Every so often a bridge roared beneath us and was gone.
    At some nameless station we stood for an hour while men tapped the axles.

    Sleep came in pieces, like a letter torn up and put together again.
    I dreamed of stairs, and woke to find that we were climbing.
    Towards four the heating failed, and everyone put on a coat.

    Then the blind went up on fields of snow, pink in the early light.
    Morning arrived with mountains, quite without warning.
    By breakfast the sea was beside us, and nobody spoke for several minutes.""",
    """a kitchen garden

    The garden lies behind the house, between the wash line and the wall.
    My grandfather's garden was never tidy, but it was always full.
    It began as a strip of clay and a wheelbarrow of good intentions.

    Beans climb there, and peas, and a rose that nobody planted.
    Rhubarb spread its great leaves over everything that held still.
    Lettuces stood in rows that started straight and ended in doubt.

    In spring the work is mostly digging and looking at the sky.
    Snails came at night and left their silver signatures.
    Water had to be carried from the butt, two cans at a time.

    By June the bees are so loud that one has to raise one's voice.
    High summer was a race between the courgettes and the cook.
    In July the gooseberries split, and children were sent to pick them in gloves.

    Autumn smells of tomato leaves and smoke.
    The pumpkins swelled in secret and were discovered with shouts.
    Then came the apples, bucket upon bucket, more than any family could use.

    In winter there is only the robin, the kale and the plans for next year.
    When the frost arrived, the spade was oiled and hung on its nail.
    And under the snow, without any fuss, the garlic was already growing.""",
    """a small harbour

    The harbour is shaped like a hand that has just let go of something.
    There are only eleven boats left in the harbour, and three of those never sail.
    On calm days the water in the harbour is so clear that the anchors can be seen.

    Nets hang along the rail, green and orange, stiff with salt.
    The ice house has become a cafe, and the cafe is mostly closed.
    Gulls stand on the bollards like officials waiting to be bribed.

    In the early hours the men go out without a word, as their fathers did.
    Engines cough in the dark, one after the other, and move off towards the point.
    Lamps bob on the swell until the horizon takes them.

    On shore the day is long and full of mending.
    Children fish for crabs from the steps, with bacon and endless patience.
    A woman paints the name of a boat in careful white letters.

    By noon the first catch is on the slab, still glittering.
    When the boats return, the cats are always the first to know.
    The auction lasts ten minutes and is conducted mainly with eyebrows.

    In the evening the tide lifts everything a little, even the conversation.
    At dusk the lighthouse begins its slow count.
    Then the wind drops, the ropes stop creaking, and the place falls asleep.""",
    """the instrument maker

    The workshop is up two flights of stairs, above a dealer in stamps.
    For forty years the same man has made violins in the same small room.
    One hears the workshop before one sees it, a scrape, a pause, another scrape.

    Pieces of spruce and maple lean in the corner, some of them older than he is.
    Light falls through a single window onto the bench.
    Clamps hang on the wall in order of size, like a family portrait.

    He taps each plate with a knuckle and listens with closed eyes.
    The curve of the back is cut by hand, with a plane no longer than a thumb.
    Shavings curl to the floor and are swept up for the stove.

    Varnish is a matter of weeks, he says, and of holding one's tongue.
    Nothing may be hurried, because the wood remembers.
    Glue simmers in a pot that has never once been clean.

    A customer comes in, plays four notes, and looks out of the window.
    Apprentices have come and gone, most of them too fond of machines.
    Twice a year a famous player climbs the stairs, out of breath and humble.

    When an instrument leaves, he does not go down to the street.
    He signs each one inside, where only the next repairer will see it.
    In the evening he covers the bench with a cloth and turns the key.""",
    """a summer storm

    All day the heat had been building over the plain.
    By noon the birds had stopped singing, and even the flies were still.
    The first sign of the storm was a change in the colour of the barley.

    Clouds stood up in the south, white at the top and ink at the bottom.
    Women ran to bring in the washing, and doors were propped open with stones.
    The cattle moved together in a corner of the field and faced the hedge.

    Then came a wind from nowhere, carrying dust and a single newspaper.
    A long roll of thunder went round the horizon like a cart.
    The light turned yellow, then green, then hardly light at all.

    When the rain fell it fell all at once, as though a table had been tipped.
    Drops as big as coins struck the road and raised a smell of iron.
    For a quarter of an hour the world was reduced to noise and water.

    Gutters overflowed, and the lane became a brown and busy river.
    Lightning showed the poplars, white and bent, and took them away again.
    We stood in the porch and counted the seconds, as one always does.

    And then it passed, grumbling, over the hill.
    Afterwards the air was so clean that it seemed a pity to breathe it.
    In the last of the light, every leaf was dripping and a blackbird began.""",
    """the village school

    The village school had one room, one stove and thirty-one pupils.
    Our school stood beside the bridge, so that every lesson had the sound of water.
    In winter we each carried a log to school under one arm.

    The small ones sat in front, the tall ones at the back, and the clever ones by the window.
    The map on the wall showed countries that had since changed their names.
    The blackboard was grey from years of sums.

    Our teacher was a narrow woman with a voice like a good knife.
    Mornings began with a song, whether we had slept or not.
    Ink froze in the wells until the stove had done its work.

    We learned rivers by heart, from the source to the sea, and never saw one of them.
    At eleven the milk came, with a skin of ice in January and flies in June.
    Spelling was done aloud and in chorus, so that nobody could be wrong alone.

    On Fridays she read to us, and even the worst boys forgot to fidget.
    The best day of the year was the one when the snow blocked the door.
    Once a travelling showman brought a lantern, and Africa appeared on the plaster.

    The building is a garage now, but the bell still hangs under the gable.
    I have forgotten most of the rivers, but not the smell of wet coats.
    Sometimes, crossing the bridge, I still catch myself reciting.""",
    """an evening at the concert

    The hall filled slowly, row after row, with a rustle of coats.
    We had seats in the gallery, behind a pillar and beside a draught.
    The posters had promised an evening of quartets and nothing more.

    On the platform four chairs waited under a rather unkind light.
    A door opened, and four people in black walked on as if to an examination.
    The tuning began, that hopeful quarrel which always sounds like the sea.

    The first piece was quick and bright, and the audience sat up straight.
    They started so softly that several people did not notice.
    With the first chord the coughing stopped.

    In the slow movement the cello spoke, and the others seemed to listen.
    A melody passed from hand to hand like something breakable.
    Outside a tram went by, exactly in the pause, and somebody laughed.

    By the finale the viola player had lost a hair of the bow, and it flew like a thread of light.
    The last pages went by at a gallop, and the page turner barely kept up.
    Near the end they looked at one another and smiled, as climbers do.

    There was a silence, and then the kind of applause that stamps its feet.
    We walked home without opening the umbrella, although it was raining.
    For days afterwards a few bars of it came back to me on the stairs.""",
    """a house in winter

    Snow had fallen all night, and the house was quiet in a new way.
    In winter the house shrinks to two rooms, the kitchen and the one above it.
    The cold came in December and settled on the house like a guest.

    Ferns of ice grew on the inside of the panes.
    The pipes knocked, the beams cracked, and the cat refused to leave the oven.
    Somebody had to fetch wood, and it was always somebody else's turn.

    Breakfast was eaten in coats, with both hands round the bowl.
    Towards ten the sun reached the table and everyone moved their chair.
    Bread was kept under the blanket with the baby.

    The lane had vanished, and the fence was a row of hats.
    A fox had crossed the yard and left a line of stitches.
    Nobody came by except the postman, who was given soup.

    In the afternoon there were cards, quarrels and the long repair of stockings.
    We read the same three novels in turn and argued about the endings.
    My aunt told the story of the wolf, a little longer every year.

    At night the stars were so sharp that they seemed to make a noise.
    The lamp was put out early, to save oil, and the dark was full of breathing.
    And when the thaw came at last, we were almost sorry.""",
    """a museum after hours

    At five the last visitors are steered towards the coats.
    When the doors close, the museum lets out its breath.
    Few people have seen the galleries without a crowd in them.

    The guards walk their rounds in soft shoes, switching off one room after another.
    A cleaner pushes a wide broom past twelve Roman emperors.
    Somewhere a fan stops, and the silence has a different shape.

    In the dark the portraits look less at the viewer and more at each other.
    The dinosaur throws a shadow that reaches as far as the gift shop.
    Glass cases hold on to the last of the daylight.

    There are small sounds, the tick of old wood, a drip behind the mummies.
    The clocks in the third room disagree, politely, all night long.
    A moth has got in, and it visits the Dutch masters one by one.

    The night watchman has a favourite, a painting of a woman peeling lemons.
    One guard does his crossword beneath a battle that took ten years to paint.
    In the basement someone is still at work, gluing a cup that broke before there were books.

    Towards morning the pigeons begin on the glass roof.
    At dawn the first light finds the marble, and it looks almost warm.
    Then the keys turn, the lamps go on, and everything pretends to be asleep.""",
)


def themes() -> tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]:
    """Each theme's title with the alternatives for each place of its paragraph."""
    result = []
    for block in BLOCKS:
        title, *places = block.split("\n\n")
        result.append((title.strip(), tuple(phrases(place) for place in places)))
    return tuple(result)
