from ldmopt.contracts import Block
from ldmopt.labeling.choose import RandomChooser
from ldmopt.labeling.pool import Pool
from ldmopt.labels import Pair

POOL = Pool({Block("a fox", 1): ("a", "b", "c"), Block("a sun", 2): ("d", "e")})


def test_random_offers_every_pair_once_and_then_none():
    chooser, answered, keys = RandomChooser(POOL, 3), [], set()
    for left in range(4, 0, -1):
        assert chooser.useful(answered) == left
        offer, *_ = chooser.offers(2, answered)
        assert offer.key not in keys
        keys.add(offer.key)
        assert {offer.left, offer.right} <= set(POOL.blocks[Block(offer.prompt, offer.seed)])
        answered.append(Pair(offer.right, offer.left, "me", "tie"))
    assert chooser.offers(5, answered) == [] and chooser.useful(answered) == 0


def test_offers_are_distinct_and_follow_the_seed():
    assert len({offer.key for offer in RandomChooser(POOL).offers(9, [])}) == 4
    assert RandomChooser(POOL, 1).offers(4, []) == RandomChooser(POOL, 1).offers(4, [])
    orders = {tuple(RandomChooser(POOL, seed).offers(4, [])) for seed in range(9)}
    assert len(orders) > 1
