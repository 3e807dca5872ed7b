"""Where a rule holds and whose judgement it rests on: repeated in every rule's evidence.

A rule is read alone, copied into a chat, merged with those of another machine: each carries its
own scope, though within one study most of it is the same.
"""

from __future__ import annotations

from typing import Any

from ldmopt.contracts import Evidence


def of_search(evidence: Evidence, prompts: int) -> dict[str, Any]:
    """Return what is said of every rule that rests on the search's trials.

    Args:
        evidence: the records of a run; its scope may say ``judged_by`` and ``raters`` itself,
            where no regressor judged.
        prompts: how many the rule was seen on.
    """
    return {
        "held_out": False,
        "judged_by": judged_by(evidence),
        "human_labels": int(evidence.scope.get("human_labels", 0)),
        "scope": scope(evidence, prompts),
    }


def judged_by(evidence: Evidence) -> str:
    """Return whose judgement win rates are, in words."""
    told = evidence.scope.get("judged_by")
    if told:
        return str(told)
    if evidence.scope.get("human_labels", 0):
        return "the regressor, which learned from human labels too"
    return "the regressor alone"


def scope(evidence: Evidence, prompts: int) -> dict[str, Any]:
    """Return model, device, versions, prompts and raters that a rule was seen with."""
    answers = {(answer.rater, answer.simulated) for rows in evidence.answers.values()
               for answer in rows}
    simulated = sum(simulated for _, simulated in answers)
    raters = {"people": len(answers) - simulated, "simulated": simulated}
    return {
        "model": evidence.scope.get("model", ""),
        "device": evidence.scope.get("device", ""),
        "versions": dict(evidence.scope.get("versions", {})),
        "prompts": prompts,
        "raters": evidence.scope.get("raters", raters),
    }
