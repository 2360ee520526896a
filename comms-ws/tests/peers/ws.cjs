// A client on the npm package ws: prints what arrives, and does what the lines of its input say.
const WebSocket = require("ws");
const readline = require("node:readline");

const [url, ...protocols] = process.argv.slice(2);
const print = (value) => console.log(JSON.stringify(value));
const socket = new WebSocket(url, protocols);

socket.on("open", () => print({ open: socket.protocol }));
socket.on("message", (data) => print({ frame: JSON.parse(data.toString()) }));
socket.on("ping", () => print({ pinged: true }));
socket.on("pong", (data) => print({ pong: data.toString() }));
socket.on("close", (code) => print({ closed: code }));
socket.on("error", (error) => print({ error: error.message }));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  if (command.send) socket.send(JSON.stringify(command.send));
  if (command.ping) socket.ping(command.ping);
  if (command.close) socket.close(command.close);
});
