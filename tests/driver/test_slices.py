"""ResourceSlices: what is published, and that the plan always leads there."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podvitals.claim.resource import ResourceSlice
from podvitals.detect.detector import Device, Version
from podvitals.driver.slices import Plan, Slices, chunks, slice_name
from tests.driver.make import DRIVER, NODE

OWNER = "node-uid"


class Server:
    """The API's part, without HTTP: versions, and what it does to quantities."""

    def __init__(self) -> None:
        self.slices: dict[str, ResourceSlice] = {}
        self.version = 0

    def do(self, plan: Plan, slices: Slices) -> None:
        for body in (*plan.replace, *plan.create):
            slices.written(body, self.put(body))
        for name in plan.delete:
            del self.slices[name]

    def put(self, body: dict[str, Any]) -> ResourceSlice:
        self.version += 1
        text = msgspec.json.encode(body).replace(b"1024Mi", b"1Gi")
        plain = msgspec.json.decode(text)
        plain["metadata"] |= {"uid": f"uid-{self.version}", "resourceVersion": str(self.version)}
        made = msgspec.convert(plain, ResourceSlice)
        self.slices[made.metadata.name] = made
        return made


def devices(count: int, **attributes: object) -> dict[str, Device]:
    return {f"d{number:03}": Device(f"d{number:03}", attributes) for number in range(count)}  # type: ignore[arg-type]


def settled(server: Server, slices: Slices, wanted: dict[str, Device]) -> None:
    """Publishes, and checks that the pool is complete, of one generation, and left alone from then on."""
    server.do(slices.plan(chunks(wanted), server.slices, OWNER), slices)
    published = list(server.slices.values())
    assert sorted(device.name for one in published for device in one.spec.devices) == sorted(wanted)
    assert all(len(one.spec.devices) <= 128 for one in published)
    assert len({one.spec.pool.generation for one in published}) <= 1
    assert {one.spec.pool.resource_slice_count for one in published} <= {len(published)}
    assert not slices.plan(chunks(wanted), server.slices, OWNER)


def test_attributes_are_published_with_their_types() -> None:
    wanted = {"g0": Device("g0", {"big": True, "numa": -1, "model": "T1", "fw": Version("1.2.3")}, {"memory": "80Gi", "cores": 8})}
    (body,) = Slices(DRIVER, NODE).plan(chunks(wanted), {}, OWNER).create
    assert body["spec"]["devices"] == [
        {
            "name": "g0",
            "attributes": {"big": {"bool": True}, "numa": {"int": -1}, "model": {"string": "T1"}, "fw": {"version": "1.2.3"}},
            "capacity": {"memory": {"value": "80Gi"}, "cores": {"value": "8"}},
        }
    ]
    assert body["spec"]["pool"] == {"name": NODE, "generation": 1, "resourceSliceCount": 1}
    assert body["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": OWNER, "controller": True},
    ]


def test_more_than_128_devices_are_several_slices_of_one_pool() -> None:
    server, slices = Server(), Slices(DRIVER, NODE)
    settled(server, slices, devices(300))
    assert [len(one.spec.devices) for one in server.slices.values()] == [128, 128, 44]
    settled(server, slices, devices(100))
    assert len(server.slices) == 1


def test_one_device_too_many_for_a_slice_changes_the_count_in_both() -> None:
    server, slices = Server(), Slices(DRIVER, NODE)
    settled(server, slices, devices(128))
    settled(server, slices, devices(129))
    assert len(server.slices) == 2


def test_no_devices_are_no_slices() -> None:
    server, slices = Server(), Slices(DRIVER, NODE)
    assert not slices.plan(chunks({}), {}, OWNER)
    settled(server, slices, devices(1))
    settled(server, slices, {})
    assert server.slices == {}


def test_a_deleted_slice_is_put_back_as_it_was() -> None:
    server, slices = Server(), Slices(DRIVER, NODE)
    settled(server, slices, devices(1))
    settled(server, slices, devices(200))
    assert {one.spec.pool.generation for one in server.slices.values()} == {2}
    for gone in (1, 2):
        for name in list(server.slices)[:gone]:
            del server.slices[name]
        plan = slices.plan(chunks(devices(200)), server.slices, OWNER)
        assert (len(plan.create), plan.replace, plan.delete, plan.generation) == (gone, (), (), 2)
        server.do(plan, slices)


def test_a_changed_attribute_is_a_new_generation_of_the_whole_pool() -> None:
    server, slices = Server(), Slices(DRIVER, NODE)
    settled(server, slices, devices(200))
    settled(server, slices, devices(200, model="T2"))
    assert {one.spec.pool.generation for one in server.slices.values()} == {2}


def test_the_servers_way_to_write_a_quantity_is_no_difference() -> None:
    settled(Server(), Slices(DRIVER, NODE), {"g0": Device("g0", capacity={"memory": "1024Mi"})})


def test_a_restarted_driver_leaves_what_is_right() -> None:
    server = Server()
    settled(server, Slices(DRIVER, NODE), devices(200))
    assert not Slices(DRIVER, NODE).plan(chunks(devices(200)), server.slices, OWNER)


def test_a_node_made_anew_owns_its_slices_again() -> None:
    server, slices = Server(), Slices(DRIVER, NODE)
    settled(server, slices, devices(1))
    plan = slices.plan(chunks(devices(1)), server.slices, "another-uid")
    assert plan.replace[0]["metadata"]["ownerReferences"][0]["uid"] == "another-uid"


def test_the_longest_names_still_make_a_name() -> None:
    name = slice_name("a" * 63, "n" * 253, 3)
    assert len(name) <= 253
    assert name != slice_name("a" * 63, "m" * 253, 3)


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("inventory"), st.sampled_from([0, 1, 127, 128, 129, 300]), st.sampled_from(["T1", "T2"])),
        st.tuples(st.just("delete"), st.integers(0, 3), st.just("")),
        st.tuples(st.just("foreign"), st.integers(0, 3), st.just("")),
        st.tuples(st.just("restart"), st.just(0), st.just("")),
    ),
    max_size=12,
)


@given(CHANGES)
def test_whatever_happens_to_the_slices_one_plan_leads_back(changes: list[tuple[str, int, str]]) -> None:
    server, slices, wanted = Server(), Slices(DRIVER, NODE), devices(1)
    newest = 0
    for what, number, model in changes:
        if what == "inventory":
            wanted = devices(number, model=model)
        elif what == "restart":
            # What it remembers beyond the slices that are there is lost.
            slices, newest = Slices(DRIVER, NODE), max((one.spec.pool.generation for one in server.slices.values()), default=0)
        elif what == "delete" and len(server.slices) > number:
            del server.slices[sorted(server.slices)[number]]
        elif what == "foreign":
            (body,) = Slices(DRIVER, NODE).plan(chunks(devices(2, model="foreign")), {}, "other").create
            body["metadata"]["name"] = slice_name(DRIVER, NODE, number)
            body["spec"]["pool"]["generation"] = newest + 1
            server.put(body)
        settled(server, slices, wanted)
        generations = {one.spec.pool.generation for one in server.slices.values()}
        assert min(generations, default=newest) >= newest
        newest = max(newest, *generations, 0)
