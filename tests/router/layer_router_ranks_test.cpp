// A layer decides as one wherever its heads are: on any number of tensor ranks the same gates, the
// same gradients of the parameters on every rank, and of its own heads' states.
#include "ops/elementwise.h"
#include "router/layer_routers.h"
#include "tests/parallel/support.h"

namespace elastron::router {
namespace {

constexpr int64_t kKvHeads = 4, kQHeads = 8, kDim = 6, kDocuments = 3, kTokens = 24;
constexpr uint64_t kSeed = 31;

class LayerRouterRanks : public parallel::WorldTest {
 protected:
  struct Result {
    std::vector<uint8_t> gate;
    std::vector<double> probability, d_states;
    std::vector<std::vector<double>> gradients;
  };

  // With the kv heads [first, first + own), and the others on other ranks of the group.
  Result route(const RouterConfig& config, int64_t first, int64_t own,
               parallel::Communicator* tensor) {
    LayerRouters routers(config,
                         {.layers = 2,
                          .head_dim = kDim,
                          .heads = {kKvHeads, first, own},
                          .tasks = 5,
                          .tensor = tensor},
                         DType::f64, kSeed, true, device);
    auto layers = routers.routed();
    RouterBatch batch;
    batch.segments = {{0, 9}, {9, 9}, {12, 24}};
    batch.sample_keys = sample_keys_;
    batch.step = 3;
    batch.tau = 1.2;
    batch.sample = true;
    const int64_t all = config.input == RouterInput::query ? kQHeads : kKvHeads;
    const int64_t each = all / kKvHeads;
    const Tensor states = parallel::random_tensor({kTokens, all, kDim}, DType::f64, 5, device)
                              .slice(1, first * each, (first + own) * each)
                              .clone();
    const Tensor d_gate = parallel::random_tensor({kDocuments, kKvHeads}, DType::f64, 6, device)
                              .slice(1, first, first + own)
                              .clone();
    const Tensor d_objective =
        parallel::random_tensor({kDocuments, kKvHeads}, DType::f64, 7, device)
            .slice(1, first, first + own)
            .clone();
    SavedRoute route;
    prepare({&layers[1], 1});
    layers[1].decide(states, kDocuments, batch, route);
    Tensor d_states = Tensor::zeros(states.shape(), DType::f64, device);
    layers[1].backward(d_gate, d_objective, batch, route, &d_states, [](Parameter&) {});
    Result result{route.gate.to_vector<uint8_t>(),
                  route.probability.to_vector<double>(),
                  d_states.to_vector<double>(),
                  {}};
    ParameterList parameters;
    routers.append_parameters(parameters);
    for (const Parameter* p : parameters) {
      EXPECT_EQ(p->gradient_partial_over_tensor, !config.by_layer()) << p->name;
      result.gradients.push_back(p->grad.to_vector<double>());
    }
    return result;
  }

  std::vector<uint32_t> sample_keys_ = {4, 9, 100000};
};

void expect_near(const std::vector<double>& got, const std::vector<double>& want,
                 const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  // Sums of a few numbers of order 1 in another order.
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-14) << what << " " << i;
}

// Columns [first, first + count) of rows of `width`, each of `each` numbers.
template <class T>
std::vector<T> columns(const std::vector<T>& of, int64_t width, int64_t first, int64_t count,
                       int64_t each) {
  std::vector<T> part;
  for (int64_t row = 0; row < int64_t(of.size()) / (width * each); ++row) {
    const auto begin = of.begin() + (row * width + first) * each;
    part.insert(part.end(), begin, begin + count * each);
  }
  return part;
}

TEST_F(LayerRouterRanks, DecideAsOne) {
  const parallel::Mesh mesh(world, {.data = 1, .context = 1, .tensor = world.size()});
  const int64_t own = kKvHeads / world.size(), first = own * mesh.tensor().rank();
  for (const RouterInput input : {RouterInput::query, RouterInput::key}) {
    for (const TauSchedule schedule : {TauSchedule::constant, TauSchedule::learned}) {
      RouterConfig config = RouterConfig::of(Preset::flux);
      config.input = input;
      config.init = Init::normal;
      config.init_std = 0.5;
      config.pool_budget = 4;
      config.tau_schedule = schedule;
      config.tau.init = 0.7;
      config.task_embedding = schedule == TauSchedule::learned;
      const Result whole = route(config, 0, kKvHeads, nullptr);
      const Result part = route(config, first, own, &mesh.tensor());
      const int64_t group = input == RouterInput::query ? kQHeads / kKvHeads : 1;
      EXPECT_EQ(part.gate, columns(whole.gate, kKvHeads, first, own, 1));
      expect_near(part.probability, whole.probability, "probability");
      expect_near(part.d_states, columns(whole.d_states, kKvHeads, first, own, group * kDim),
                  "states");
      for (size_t i = 0; i < whole.gradients.size(); ++i) {
        expect_near(part.gradients[i], whole.gradients[i], "parameter " + std::to_string(i));
      }
      double largest = 0;
      for (const double d : whole.d_states) largest = std::max(largest, std::abs(d));
      EXPECT_GT(largest, 1e-4);
    }
  }
}

}  // namespace
}  // namespace elastron::router
