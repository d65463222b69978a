// A function applied by worker threads, its results taken in the order its arguments were given.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace elastron::data {

// One thread gives and takes; `work` runs in the workers and must be safe to call from several.
template <class In, class Out>
class OrderedWorkers {
 public:
  OrderedWorkers(int threads, std::function<Out(In&)> work) : work_(std::move(work)) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  }
  ~OrderedWorkers() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_given_.notify_all();
    for (std::thread& t : threads_) t.join();
  }
  OrderedWorkers(const OrderedWorkers&) = delete;
  OrderedWorkers& operator=(const OrderedWorkers&) = delete;

  // How many were given and not taken yet.
  size_t pending() const { return jobs_.size(); }
  // Whether take() would not wait.
  bool ready() {
    const std::lock_guard lock(mutex_);
    return !jobs_.empty() && jobs_.front()->done;
  }

  void give(In argument) {
    auto job = std::make_unique<Job>();
    job->in = std::move(argument);
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(job.get());
    }
    jobs_.push_back(std::move(job));
    work_given_.notify_one();
  }

  // The result of the oldest; waits for it. Throws what `work` threw for it. pending() must not
  // be 0.
  Out take() {
    const std::unique_ptr<Job> job = std::move(jobs_.front());
    {
      std::unique_lock lock(mutex_);
      work_done_.wait(lock, [&] { return job->done; });
    }
    jobs_.pop_front();
    if (job->error) std::rethrow_exception(job->error);
    return std::move(job->out);
  }

 private:
  struct Job {
    In in;
    Out out;
    std::exception_ptr error;
    bool done = false;  // guarded by mutex_
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_given_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      Job& job = *waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      try {
        job.out = work_(job.in);
      } catch (...) {
        job.error = std::current_exception();
      }
      job.in = In();
      lock.lock();
      job.done = true;
      work_done_.notify_one();
    }
  }

  std::function<Out(In&)> work_;
  std::mutex mutex_;
  std::condition_variable work_given_, work_done_;
  std::deque<Job*> waiting_;  // guarded by mutex_
  bool stopping_ = false;     // guarded by mutex_
  std::deque<std::unique_ptr<Job>> jobs_;
  std::vector<std::thread> threads_;  // last: they use what stands above
};

}  // namespace elastron::data
