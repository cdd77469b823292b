"""What the words alone give away of a word swap: the floor of `word_swap`, a classifier that sees no image.

Word swaps are told by guessing wherever the words that are swapped in differ in frequency from those that are
swapped out, so chance is not the floor that a grounder has to pass (compare Hsieh et al. 2023, SugarCrepe, on
benchmarks of changed captions that are solved without the image).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from camground.evaluation.ground_truth import GroundTruth

Score = Callable[[Sequence[str]], np.ndarray]


def fit(texts: Sequence[str], swaps: Sequence[str]) -> Score:
    """A logistic regression on a bag of words that tells N expressions from their N swaps, one by one.

    It gives each text's logit of being an expression, float64: equal for texts of the same words.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = CountVectorizer(token_pattern=r"\b\w+\b", dtype=np.float64)
    classifier = make_pipeline(words, LogisticRegression(max_iter=1000))
    classifier.fit([*texts, *swaps], [True] * len(texts) + [False] * len(swaps))
    return lambda asked: np.asarray(classifier.decision_function(asked), dtype=np.float64)


def swap_scores(expressions: pd.DataFrame, truth: GroundTruth) -> pd.DataFrame:
    """Rows of the table `swap_scores` of every swap of an evaluated expression: image and proposals all score
    as the text does, and no box is chosen.

    expressions: the study's table. The classifier is fitted on the expressions of split train that have swaps
    which are false of their image, and on these, which are also what training learns from. No row where there
    are none.
    """
    texts = expressions.set_index("expression_id")["text"]
    swaps = expressions[expressions["kind"] == "swap"]
    seen = swaps[(swaps["split"] == "train") & swaps["false_of_image"].eq(True)]
    asked = swaps[swaps["swap_of"].isin(truth.ids)] if len(seen) else swaps.iloc[:0]
    rows = asked[["expression_id", "swap_of", "word_class", "false_of_image", "split", "image_id"]]
    rows = rows.reset_index(drop=True)
    counts = truth.proposals.counts[truth.ids.get_indexer(pd.Index(rows["swap_of"]))]
    if len(rows):
        score = fit(texts[seen["swap_of"]].tolist(), seen["text"].tolist())
    for ending, of in (("", rows["swap_of"]), ("_swap", rows["expression_id"])):
        scored = score(texts[of].tolist()) if len(rows) else np.zeros(0)
        rows[f"image_score{ending}"], rows[f"box_xyxy{ending}"] = scored, None
        lists = [np.full(n, value) for n, value in zip(counts, scored, strict=True)]
        rows[f"scores{ending}"] = pd.Series(lists, dtype=object)
    return rows
