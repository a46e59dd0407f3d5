from ants_engine.evaluation.method import MethodFacts, PassKey, PassResult
from ants_engine.evaluation.results_folder import models_record, package_versions, requests_record


def ran(facts: MethodFacts) -> PassResult:
    return PassResult(PassKey("m", "near", 0, None), "near", 1, 1, 0, 0, facts, False, 0.0)


def test_a_shared_run_counts_once() -> None:
    facts = MethodFacts(asked=3, from_store=2, failed=1, prompt_tokens=10, completion_tokens=4)
    shared = MethodFacts(asked=3, from_store=2, failed=1, prompt_tokens=10, completion_tokens=4, same_run_as="m")
    counted = requests_record([ran(facts), ran(shared), ran(facts), ran(MethodFacts())])
    assert counted == {"asked": 6, "from_store": 4, "failed": 2, "prompt_tokens": 20, "completion_tokens": 8}


def test_tokens_that_one_run_did_not_count_are_unknown() -> None:
    counted = requests_record([ran(MethodFacts(asked=3, prompt_tokens=10)), ran(MethodFacts(asked=1))])
    assert counted["prompt_tokens"] is None
    assert requests_record([])["completion_tokens"] is None


def test_every_model_and_template_is_named_once() -> None:
    one = MethodFacts(mllm={"model": "a"}, templates={"ens/v1": "11"})
    other = MethodFacts(mllm={"model": "b"}, templates={"eoe_near/v1": "22"})
    assert models_record([ran(one), ran(other), ran(one), ran(MethodFacts())]) == {
        "mllm": [{"model": "a"}, {"model": "b"}],
        "templates": {"ens/v1": "11", "eoe_near/v1": "22"},
    }


def test_versions() -> None:
    versions = package_versions()
    assert versions["torch"]
    assert versions["python"]
