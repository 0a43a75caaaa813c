// Submits what stands as JSON on standard input, with nodemailer as its manual shows it.
'use strict';
const fs = require('fs');
const nodemailer = require('nodemailer');

const it = JSON.parse(fs.readFileSync(0, 'utf8'));
const transport = nodemailer.createTransport({
    host: 'localhost',
    port: it.port,
    secure: it.tls === 'implicit',
    requireTLS: true,
    name: 'client.example',
    tls: { ca: fs.readFileSync(it.ca) },
    authMethod: it.mechanism || undefined,
    auth: it.is_token
        ? { type: 'OAuth2', user: it.login, accessToken: it.secret }
        : { user: it.login, pass: it.secret },
});
transport
    .sendMail({ envelope: { from: it.sender, to: [it.recipient] }, raw: fs.readFileSync(it.message) })
    .then(() => transport.close())
    .catch(error => {
        console.error(error.responseCode, error.message);
        process.exitCode = 1;
    });
