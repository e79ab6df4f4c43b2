// llama.cpp through the package node-llama-cpp: greedy ids of prompts, or the loss of windows of ids.
// Usage: node llama_in_node.mjs greedy MODEL.gguf PROMPTS.json NUM_TOKENS
//        node llama_in_node.mjs loss MODEL.gguf WINDOWS.json
import {readFileSync} from "node:fs";
import {createRequire} from "node:module";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

// The packages lie in the folder that is the working directory, not beside this file.
const entry = createRequire(join(process.cwd(), "package.json")).resolve("node-llama-cpp");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);

const [task, modelPath, inputPath, numTokens] = process.argv.slice(2);
const input = JSON.parse(readFileSync(inputPath, "utf8"));
// Its threads wait for each other in a busy loop: beside other work, more than one is far slower.
const llama = await getLlama({
    gpu: false,
    build: "never",
    logLevel: LlamaLogLevel.error,
    maxThreads: 1
});
const model = await llama.loadModel({modelPath});

async function newSequence(contextSize) {
    const context = await model.createContext({
        contextSize,
        batchSize: contextSize,
        threads: 1,
        // Otherwise keys and values are rounded to 16 bits.
        experimentalKvCacheKeyType: "F32",
        experimentalKvCacheValueType: "F32",
        flashAttention: false
    });
    return context.getSequence();
}

if (task === "greedy") {
    for (const text of input) {
        const sequence = await newSequence(512);
        const prompt = model.tokenize(text);
        const ids = [];
        for await (const id of sequence.evaluate(prompt, {temperature: 0})) {
            ids.push(id);
            if (ids.length >= Number(numTokens)) break;
        }
        console.log(JSON.stringify({prompt: [...prompt], ids}));
        await sequence.context.dispose();
    }
} else {
    const length = input[0].length;
    const sequence = await newSequence(length);
    // Of the whole vocabulary, as the network gives them.
    const generateNext = {probabilities: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0}};
    for (const ids of input) {
        await sequence.clearHistory();
        const isScored = (place) => place >= length / 2 && place < length - 1;
        const found = await sequence.controlledEvaluate(
            ids.map((id, place) => (isScored(place) ? [id, {generateNext}] : id))
        );
        const losses = ids
            .map((_, place) => place)
            .filter(isScored)
            .map((place) => -Math.log(found[place].next.probabilities.get(ids[place + 1])));
        console.log(JSON.stringify(losses));
    }
}
process.exit(0);
