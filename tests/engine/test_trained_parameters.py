"""What a step is about: the parameters that the optimizer holds now, whatever the model holds."""

import copy

import pytest
import torch
from torch import nn

from hf_vasso import METHODS, SharpnessAwareStep, get_method
from tests.engine.loops import EPOCH, STEPWISE, LossPasses, examples, mean_square, two_layers, weights

RHO = 0.2
RATE = 0.1
STEPS = 6
MOMENTUM = 0.5
BASE_AT_RHO_0 = ["sam", "vasso", "asam", "fsam", "ss-sam", "aesam", "msam", "vasso-re", "vasso-free", "vasso-asam"]


def doubles(*size, seed):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class WeightedLoss:
    """A loss with weights of its own, as those of SoftmaxLoss or ArcFace: no part of the model."""

    def __init__(self, model):
        self.model = model
        self.head = nn.Parameter(doubles(3, seed=7))

    def __call__(self, batch):
        inputs, targets = batch
        return (self.model(inputs) * self.head - targets).square().mean()


def sam_loop(loss, held, momentum=0.0):
    """SAM as the published optimizers make it: all parameters of the optimizer, perturbed along their gradient."""
    velocity = {}
    for number in range(STEPS):
        parameters = [parameter for parameter in held(number) if parameter.requires_grad]
        gradient = torch.autograd.grad(loss(examples(number)), parameters)
        norm = torch.stack([g.norm() for g in gradient]).norm()
        before = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter, g in zip(parameters, gradient, strict=True):
                parameter += RHO * g / norm
        gradient = torch.autograd.grad(loss(examples(number)), parameters)
        with torch.no_grad():
            for parameter, start, g in zip(parameters, before, gradient, strict=True):
                velocity[parameter] = momentum * velocity.get(parameter, 0.0) + g
                parameter.copy_(start - RATE * velocity[parameter])


def distance(left, right):
    pairs = zip(left, right, strict=True)
    return max((a.detach() - b.detach()).abs().max().item() for a, b in pairs)


class TestLossWithWeights:
    def trained(self, method):
        model = two_layers()
        loss = WeightedLoss(model)
        optimizer = torch.optim.SGD([*model.parameters(), loss.head], lr=RATE, momentum=MOMENTUM)
        engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=STEPS, rho_warmup_steps=0)
        for number in range(STEPS):
            engine.step([examples(number)], LossPasses(loss))
            optimizer.step()
        return [*model.parameters(), loss.head]

    def test_sam_perturbs_them_too(self):
        model = two_layers()
        loss = WeightedLoss(model)
        sam_loop(loss, lambda number: [*model.parameters(), loss.head], MOMENTUM)
        assert distance(self.trained(get_method("sam", rho=RHO)), [*model.parameters(), loss.head]) < 1e-12

    @pytest.mark.parametrize("name", BASE_AT_RHO_0)
    def test_rho_0_is_the_base_optimizer(self, name):
        assert distance(self.trained(get_method(name, rho=0.0)), self.trained(get_method("none"))) == 0.0

    def test_the_state_is_saved_and_loaded(self):
        trained = []
        for resumes in (False, True):
            model = two_layers()
            loss = WeightedLoss(model)
            optimizer = torch.optim.SGD([*model.parameters(), loss.head], lr=RATE)

            def build(model=model, optimizer=optimizer):
                method = get_method("vasso", rho=RHO)
                return SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=STEPS)

            engine = build()
            for number in range(STEPS):
                if resumes and number == 3:
                    state = copy.deepcopy(engine.state_dict())
                    assert "param_groups.0.4" in state["parts"]["direction"]["tensors"]
                    engine = build()
                    engine.load_state_dict(state)
                engine.step([examples(number)], LossPasses(loss))
                optimizer.step()
            trained.append([*model.parameters(), loss.head])
        assert distance(*trained) == 0.0


class WithAdapter(nn.Module):
    """A model that gets another part in mid-training."""

    def __init__(self):
        super().__init__()
        self.body = two_layers()
        self.added = None

    def add(self):
        self.added = nn.Linear(3, 3, bias=False).double()
        with torch.no_grad():
            self.added.weight.copy_(doubles(3, 3, seed=3))
        return self.added.weight

    def forward(self, inputs):
        outputs = self.body(inputs)
        return outputs if self.added is None else outputs + self.added(outputs)


class TestAddedInMidTraining:
    def trained(self, method, lists_anew=True):
        model = WithAdapter()
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
        named = model.named_parameters if lists_anew else model.named_parameters()
        engine = SharpnessAwareStep(method, named, optimizer, total_steps=STEPS, rho_warmup_steps=0)
        for number in range(STEPS):
            if number == 2:
                optimizer.add_param_group({"params": [model.add()]})
            engine.step([examples(number)], LossPasses(mean_square(model)))
            optimizer.step()
        return model, engine

    @pytest.mark.parametrize("lists_anew", [True, False])
    def test_it_is_perturbed_from_its_first_step(self, lists_anew):
        model = WithAdapter()

        def held(number):
            if number == 2:
                model.add()
            return list(model.parameters())

        sam_loop(mean_square(model), held, MOMENTUM)
        trained, _ = self.trained(get_method("sam", rho=RHO), lists_anew)
        assert distance(trained.parameters(), model.parameters()) < 1e-12

    @pytest.mark.parametrize("name", BASE_AT_RHO_0)
    def test_rho_0_is_the_base_optimizer(self, name):
        trained, _ = self.trained(get_method(name, rho=0.0))
        base, _ = self.trained(get_method("none"))
        assert distance(trained.parameters(), base.parameters()) == 0.0

    def test_it_has_the_models_name_where_the_names_are_listed_anew(self):
        for lists_anew, name in ((True, "added.weight"), (False, "param_groups.1.0")):
            _, engine = self.trained(get_method("vasso", rho=RHO), lists_anew)
            assert name in engine.state_dict()["parts"]["direction"]["tensors"]

    @pytest.mark.parametrize("lists_anew", [True, False])
    def test_a_state_is_loaded_into_an_engine_that_was_built_before(self, lists_anew):
        model, engine = self.trained(get_method("vasso", rho=RHO), lists_anew)
        again = WithAdapter()
        optimizer = torch.optim.SGD(again.parameters(), lr=RATE, momentum=MOMENTUM)
        named = again.named_parameters if lists_anew else again.named_parameters()
        other = SharpnessAwareStep(get_method("vasso", rho=RHO), named, optimizer, total_steps=STEPS)
        optimizer.add_param_group({"params": [again.add()]})
        other.load_state_dict(copy.deepcopy(engine.state_dict()))
        again.load_state_dict(model.state_dict())
        for each, of_model in ((engine, model), (other, again)):
            each.step([examples(0)], LossPasses(mean_square(of_model)))
        gradients = [[parameter.grad for parameter in each.parameters()] for each in (model, again)]
        assert distance(*gradients) == 0.0

    def test_what_was_kept_for_a_replaced_parameter_is_forgotten(self):
        """A head of another size under the old name; its average begins at its own first gradient."""
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        engine = SharpnessAwareStep(
            get_method("vasso", rho=RHO), model.named_parameters, optimizer, total_steps=STEPS, rho_warmup_steps=0
        )
        engine.step([examples(0)], LossPasses(mean_square(model)))
        optimizer.step()
        model[2] = nn.Linear(6, 1).double()
        optimizer.param_groups[0]["params"] = list(model.parameters())
        gradient = torch.autograd.grad(mean_square(model)((examples(1)[0], examples(1)[1][:, :1])), model[2].weight)[0]
        engine.step([(examples(1)[0], examples(1)[1][:, :1])], LossPasses(mean_square(model)))
        average = engine.state_dict()["parts"]["direction"]["tensors"]
        assert torch.equal(average["2.weight"], gradient)
        assert average.keys() == dict(model.named_parameters()).keys()


def unfreeze_at(model, number):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("2.weight") or number >= 3)


class TestGradualUnfreezing:
    def trained(self, resumes=False):
        model = two_layers()
        unfreeze_at(model, 0)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

        def build():
            return SharpnessAwareStep(
                get_method("vasso", rho=RHO),
                model.named_parameters,
                optimizer,
                total_steps=STEPS,
                no_perturb="bias",
                rho_warmup_steps=0,
            )

        engine = build()
        for number in range(STEPS):
            unfreeze_at(model, number)
            if resumes and number == 4:
                state = copy.deepcopy(engine.state_dict())
                engine = build()
                engine.load_state_dict(state)
            engine.step([examples(number)], LossPasses(mean_square(model)))
            optimizer.step()
        return model

    def test_the_pattern_holds_for_what_is_unfrozen_later(self):
        """A loop by hand: d follows the weights alone, a tensor's average begins at its first gradient."""
        model = two_layers()
        average = {}
        for number in range(STEPS):
            unfreeze_at(model, number)
            named = {name: p for name, p in model.named_parameters() if p.requires_grad}
            gradient = torch.autograd.grad(mean_square(model)(examples(number)), list(named.values()))
            for name, g in zip(named, gradient, strict=True):
                if "bias" not in name:
                    average[name] = average[name] + 0.4 * (g - average[name]) if name in average else g
            norm = torch.stack([d.norm() for d in average.values()]).norm()
            before = {name: p.detach().clone() for name, p in named.items()}
            with torch.no_grad():
                for name, d in average.items():
                    named[name] += RHO * d / norm
            gradient = torch.autograd.grad(mean_square(model)(examples(number)), list(named.values()))
            with torch.no_grad():
                for (name, p), g in zip(named.items(), gradient, strict=True):
                    p.copy_(before[name] - RATE * g)
        assert distance(self.trained().parameters(), model.parameters()) < 1e-12

    def test_resumed_after_the_unfreezing_is_straight(self):
        assert distance(self.trained(resumes=True).parameters(), self.trained().parameters()) == 0.0


class TestAPartOfTheModel:
    def test_the_rest_stays_and_uses_up_no_radius(self):
        models = two_layers(), two_layers()
        head = models[0][2]
        optimizer = torch.optim.SGD(head.parameters(), lr=RATE)
        engine = SharpnessAwareStep(
            get_method("sam", rho=RHO), models[0].named_parameters(), optimizer, total_steps=STEPS, rho_warmup_steps=0
        )
        for number in range(STEPS):
            result = engine.step([examples(number)], LossPasses(mean_square(models[0])), measure=True)
            assert result.perturbation_norm.item() == pytest.approx(RHO)
            optimizer.step()
        sam_loop(mean_square(models[1]), lambda number: list(models[1][2].parameters()))
        assert distance(models[0].parameters(), models[1].parameters()) < 1e-12
        assert distance(models[0][0].parameters(), two_layers()[0].parameters()) == 0.0

    def test_the_gradients_that_nobody_uses_are_those_of_one_pass(self):
        """They enter the norm by which the Trainer clips."""
        gradients = []
        for method in (get_method("none"), get_method("sam", rho=0.0)):
            model = two_layers()
            optimizer = torch.optim.SGD(model[2].parameters(), lr=RATE)
            engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=STEPS)
            engine.step([examples(0)], LossPasses(mean_square(model)))
            gradients.append([parameter.grad for parameter in model.parameters()])
        assert distance(*gradients) == 0.0

    def test_an_optimizer_of_another_model_is_refused(self):
        optimizer = torch.optim.SGD(two_layers().parameters(), lr=RATE)
        with pytest.raises(
            ValueError, match="the optimizer holds none of the model's 4 trainable parameters, such as 0"
        ):
            SharpnessAwareStep(get_method("sam"), two_layers().named_parameters(), optimizer, total_steps=1)

    def test_a_tensor_with_two_names_moves_once(self):
        moved = []
        for remove_duplicate in (True, False):
            model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
            with torch.no_grad():
                model[0].weight.copy_(doubles(3, 3, seed=1))
            model[1].weight = model[0].weight
            optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
            named = model.named_parameters(remove_duplicate=remove_duplicate)
            engine = SharpnessAwareStep(
                get_method("sam", rho=RHO), named, optimizer, total_steps=1, rho_warmup_steps=0
            )
            inputs, targets = examples(0)
            engine.step([(inputs[:, :3], targets)], LossPasses(mean_square(model)))
            moved.append([model[0].weight.grad])
        assert distance(*moved) == 0.0


@pytest.mark.parametrize("name", METHODS)
def test_a_step_in_which_all_that_the_optimizer_holds_is_frozen_moves_nothing(name):
    """Another part of the model is trainable, as an adapter that the optimizer does not hold."""
    model = two_layers()
    optimizer = torch.optim.SGD(model[0].parameters(), lr=RATE, momentum=MOMENTUM)
    engine = SharpnessAwareStep(get_method(name), model.named_parameters(), optimizer, total_steps=STEPS, **EPOCH)
    for number in range(4):
        model[0].requires_grad_(number != 2)
        before = weights(model)
        engine.step([examples(number)], LossPasses(mean_square(model)))
        optimizer.step()
        assert torch.equal(weights(model), before) == (number == 2)


class Rotation(nn.Module):
    """A complex weight beside real ones."""

    def __init__(self):
        super().__init__()
        self.real = nn.Parameter(doubles(4, seed=1))
        self.phase = nn.Parameter(torch.complex(doubles(4, seed=2), doubles(4, seed=3)))

    def forward(self, inputs):
        return (inputs * self.real * self.phase).abs().sum(1, keepdim=True)


@pytest.mark.parametrize("name", [name for name in STEPWISE if name != "none"])
def test_complex_parameters_are_refused_by_name(name):
    model = Rotation()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    engine = SharpnessAwareStep(get_method(name), model.named_parameters(), optimizer, total_steps=STEPS)
    inputs, targets = examples(0)
    with pytest.raises(ValueError, match="phase is complex, and a perturbation needs real weights: keep it as a real"):
        engine.step([(inputs, targets[:, :1])], LossPasses(mean_square(model)))


def test_none_trains_complex_parameters():
    models = Rotation(), Rotation()
    optimizers = [torch.optim.SGD(model.parameters(), lr=RATE) for model in models]
    engine = SharpnessAwareStep(get_method("none"), models[0].named_parameters(), optimizers[0], total_steps=STEPS)
    inputs, targets = examples(0)
    batch = (inputs, targets[:, :1])
    engine.step([batch], LossPasses(mean_square(models[0])))
    mean_square(models[1])(batch).backward()
    for optimizer in optimizers:
        optimizer.step()
    assert distance(models[0].parameters(), models[1].parameters()) == 0.0


def test_nothing_is_listed_anew_while_nothing_changes():
    """A step compares identities: it does not walk the model, and evaluates no pattern."""
    model, calls = two_layers(), []

    def named():
        calls.append(1)
        return model.named_parameters()

    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    engine = SharpnessAwareStep(get_method("sam"), named, optimizer, total_steps=STEPS, no_perturb="bias")
    for number in range(3):
        engine.step([examples(number)], LossPasses(mean_square(model)))
    assert len(calls) == 1
    assert not torch.equal(weights(model), 0 * weights(model))
