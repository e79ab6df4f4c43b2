import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import nextword.v1.SamplingParameters;
import nextword.v1.StreamGenerateTextRequest;
import nextword.v1.StreamGenerateTextResponse;
import nextword.v1.TextGenerationServiceGrpc;

/**
 * Prints the next words of a text over gRPC, as the server makes them.
 *
 * <p>clients/java/build.sh builds it. Options: --address HOST:PORT, --max-tokens N, --seed N,
 * --temperature X, --deadline SECONDS, --cancel-after PIECES.
 */
public final class StreamWords {
  private StreamWords() {}

  /** Runs the command; 1 when the server refuses or cannot be reached. */
  public static void main(String[] arguments) throws InterruptedException {
    Map<String, String> given = new HashMap<>();
    String prompt = "Once upon a time";
    for (int i = 0; i < arguments.length; i++) {
      if (arguments[i].startsWith("--") && i + 1 < arguments.length) {
        given.put(arguments[i], arguments[++i]);
      } else {
        prompt = arguments[i];
      }
    }
    String address = given.getOrDefault("--address", "127.0.0.1:50051");
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
    int code;
    try {
      code = stream(channel, prompt, given);
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
    System.exit(code);
  }

  private static int stream(ManagedChannel channel, String prompt, Map<String, String> given) {
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    SamplingParameters.Builder parameters = SamplingParameters.newBuilder();
    // What is not set is the model's default.
    if (given.containsKey("--max-tokens")) {
      parameters.setMaxTokens(Integer.parseInt(given.get("--max-tokens")));
    }
    if (given.containsKey("--temperature")) {
      parameters.setTemperature(Double.parseDouble(given.get("--temperature")));
    }
    if (given.containsKey("--seed")) {
      parameters.setSeed(Long.parseUnsignedLong(given.get("--seed")));
    }
    StreamGenerateTextRequest request =
        StreamGenerateTextRequest.newBuilder().setPrompt(prompt).setParameters(parameters).build();
    long deadline = (long) (1000 * Double.parseDouble(given.getOrDefault("--deadline", "600")));
    int most = Integer.parseInt(given.getOrDefault("--cancel-after", "0"));

    // Whoever leaves the call's context cancels the call, on the server too.
    Context.CancellableContext context = Context.current().withCancellation();
    Context before = context.attach();
    try {
      Iterator<StreamGenerateTextResponse> pieces =
          TextGenerationServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(deadline, TimeUnit.MILLISECONDS)
              .streamGenerateText(request);
      for (int count = 1; pieces.hasNext(); count++) {
        StreamGenerateTextResponse piece = pieces.next();
        out.print(piece.getText());
        out.flush();
        if (piece.hasSummary()) {
          out.println();
          System.err.printf(
              "[%d tokens of %s@%s, seed %s]%n",
              piece.getSummary().getUsage().getCompletionTokens(),
              piece.getSummary().getModel(),
              piece.getSummary().getModelVersion(),
              Long.toUnsignedString(piece.getSummary().getParameters().getSeed()));
        }
        if (count == most) {
          out.println();
          System.err.println("[cancelled]");
          return 0;
        }
      }
      return 0;
    } catch (StatusRuntimeException error) {
      out.println();
      System.err.println(error.getStatus().getCode() + ": " + error.getStatus().getDescription());
      return 1;
    } finally {
      context.detach(before);
      context.cancel(null);
    }
  }
}
